"""Labels as features, for backends without kernels of their own for them.

Shape letters: G Gaussians, F features, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

import torch
from torch import Tensor

from occsplat.structures import Cameras, Gaussians

from .output import RenderOutput, RenderSettings

#: a backend's render
Render = Callable[
    [Gaussians, Tensor | None, Cameras, RenderSettings], RenderOutput
]


def render_labels(
    render: Render,
    gaussians: Gaussians,
    labels: Tensor,  # (G,)
    num_classes: int,
    cameras: Cameras,
    settings: RenderSettings,
) -> RenderOutput:
    """Render with K one-hot features in front of the Gaussians' own."""
    one_hot = torch.nn.functional.one_hot(labels.long(), num_classes)
    features = torch.cat(
        (one_hot.to(gaussians.features.dtype), gaussians.features), dim=1
    )
    labelled = replace(gaussians, features=features)
    return render(labelled, None, cameras, settings)


def render_pair(
    render: Render,
    gaussians: Gaussians,
    labels: Tensor,  # (G,) negative: no ground truth
    num_classes: int,
    label_features: Tensor,  # (G, F)
    cameras: Cameras,
    settings: RenderSettings,
) -> tuple[RenderOutput, RenderOutput]:
    """Render a prediction and, opaque, its truth, one after the other."""
    there = labels >= 0
    truth = replace(
        gaussians,
        opacities=torch.ones_like(gaussians.opacities),
        features=label_features,
    ).chosen(there)
    with torch.no_grad():
        labelled = render_labels(
            render, truth, labels[there], num_classes, cameras, settings
        )
    return render(gaussians, None, cameras, settings), labelled
