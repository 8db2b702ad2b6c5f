"""RenderOcc's volume rendering of a density along the rays of pixels.

RenderOcc (ICRA 2024), section III-D, with depths in metres: the released
code compares a contracted distance along the ray with the camera's z.

Shape letters: P labelled pixels (rays), D samples along a ray, Q samples
that matter, S semantic classes, X Y Z voxels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from mmdet3d.registry import MODELS
from torch import Tensor

from occsplat.structures.checks import (
    NonNegative,
    Positive,
    check_order,
    checked,
)

from ..losses import distortion_loss
from .pixel_render_head import (
    FramePixels,
    PixelRenderHead,
    RenderedPixels,
    labelled_rays,
)

#: samples that add less than this to a pixel are not asked for their class
MIN_WEIGHT = 1e-4


@MODELS.register_module()
class NeRFRenderHead(PixelRenderHead):
    """Semantic and depth losses on volume-rendered rays.

    Along a ray with samples a step apart::

        alpha_i = 1 - exp(-density_i * step)
        w_i = alpha_i * prod_{j < i} (1 - alpha_j)
        semantics = sum_i w_i logits_i, depth = sum_i w_i z_i

    Args:
        step (float, optional): metres of camera z between samples, default
            half the shortest edge of a voxel.
        near, far (float): range of camera z in metres.
        entropy_weight (float): weight of the entropy of the light that
            gets through: a ray should hit something or nothing.
        distortion_weight (float): weight of distortion_loss, which pulls
            the weights of a ray together.
        **kwargs: see PixelRenderHead.
    """

    name = 'nerf'
    costs = ('entropy', 'distortion')

    @checked
    def __init__(
        self,
        step: Positive | None = None,
        near: NonNegative = 0.5,
        far: Positive = 60.0,
        entropy_weight: NonNegative = 0.01,
        distortion_weight: NonNegative = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_order(near=near, far=far)
        self.step = min(self.grid.size) / 2 if step is None else step
        self.near = near
        self.far = far
        self.entropy_weight = entropy_weight
        self.distortion_weight = distortion_weight

    def render(self, view: FramePixels) -> RenderedPixels:
        """March along the rays; see PixelRenderHead.

        Raises:
            ValueError: when the prediction has no density.
        """
        if view.prediction.density is None:
            raise ValueError(
                'NeRFRenderHead renders a density, and the occupancy head '
                'predicts none: it takes a DensityOccHead'
            )
        density = view.prediction.density[view.sample]
        if view.inside is not None:
            density = density * view.inside
        origins, directions = labelled_rays(view.rig, view.pixels)
        # to the frame whose voxels the volumes stand for
        rotation = view.ref2lattice[:3, :3]
        directions = directions @ rotation.T
        origins = origins @ rotation.T + view.ref2lattice[:3, 3]
        z = self._depths(density)
        points = origins[:, None] + z[:, None] * directions[:, None]
        sampled = self.grid.sample(density[None, None], points[None])[0, 0]
        step = self.step * directions.norm(dim=1, keepdim=True)
        weights, left = ray_weights(sampled, step)
        semantic = self._semantics(view, points, weights)
        return RenderedPixels(
            semantic,
            (weights * z).sum(dim=1),
            1 - left,
            # -log(left), which still has a slope where left is 0
            (sampled * step).sum(dim=1),
            dict(
                entropy=self.entropy_weight * _entropy(left),
                distortion=self.distortion_weight
                * distortion_loss(weights, z / self.far),
            ),
        )

    def _depths(self, like: Tensor) -> Tensor:
        """The middles of the steps, metres of camera z, (D,)."""
        count = math.ceil((self.far - self.near) / self.step)
        index = torch.arange(count, device=like.device, dtype=like.dtype)
        return self.near + (index + 0.5) * self.step

    def _semantics(
        self, view: FramePixels, points: Tensor, weights: Tensor
    ) -> Tensor:
        """Sum of the logits along each ray by weight, (P, S).

        Logits of all samples of all rays would be the largest tensor of
        the step by far, and nearly all of them count nothing.
        """
        # log-probabilities plus a constant per voxel: a softmax sees no
        # difference between logits and these
        logits = view.prediction.logits[view.sample]
        logits = logits[list(self.spec.occupied)]
        ray, sample = (weights.detach() > MIN_WEIGHT).nonzero(as_tuple=True)
        found = self.grid.sample(logits[None], points[ray, sample][None])[0]
        found = found.T * weights[ray, sample][:, None]  # (Q, S)
        total = found.new_zeros(len(weights), len(logits))
        return total.index_add(0, ray, found)


def ray_weights(density: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """How much of a ray each sample stops (Max, 1995).

    Args:
        density (Tensor): per metre, front to back, (P, D).
        step (Tensor): metres between the samples of a ray, (P, 1).

    Returns:
        tuple: weights (P, D), and what gets through, (P,); they sum to 1.
    """
    absorbed = density * step
    through = absorbed.cumsum(dim=1)
    before = torch.exp(absorbed - through)  # light that reaches the sample
    weights = -torch.expm1(-absorbed) * before
    return weights, torch.exp(-through[:, -1])


def _entropy(left: Tensor) -> Tensor:
    """Of a coin that lands on 'through' with probability left, (P,)."""
    left = left.clamp(1e-6, 1 - 1e-6)
    return -(left * left.log() + (1 - left) * torch.log1p(-left))
