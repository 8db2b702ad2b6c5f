"""VoxelSplat: render the predicted volume and compare with rendered labels.

VoxelSplat, CVPR 2025. Supervision in the image plane: predicted voxels
and label voxels are splatted as small Gaussians into the same cameras, as
they are and moved along their flow, so that the images also say where
things will be.

Shape letters: B batch, V render views, K classes (free included), S
semantic classes (free excluded), X Y Z voxels, H W pixels.

::

    prediction (B, K, X, Y, Z), labels (B, X, Y, Z)
      -> states: Gaussians of both, one or more a sample
      -> images (V, H, W, S), depths (V, H, W), alphas (V, H, W) of both
      -> RenderTerms
"""

from __future__ import annotations

from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.rendering import (
    RenderOutput,
    render,
    render_labels,
    render_pair,
)
from occsplat.rendering.arguments import Backend
from occsplat.structures import (
    LabelSpec,
    LabelStatistics,
    OccBatch,
    OccPrediction,
    VoxelGrid,
    as_grid,
    same_shape,
)
from occsplat.structures.checks import (
    Count,
    NonNegative,
    Positive,
    check_order,
    checked,
)

from ..interfaces import Lifted
from . import adjacent_motion, label_motion  # noqa: F401  registers both
from .render_state import State
from .render_terms import RenderTerms

DEPTHS = ('accumulated', 'expected')
#: share of what a pixel sees that may be unknown
MAX_UNKNOWN = 0.01


@MODELS.register_module()
class VoxelSplatHead(nn.Module):
    """Semantic, depth and flow losses on Gaussian renders.

    ``motion`` chooses between two losses. LabelMotion is that of the
    released code: the prediction moved by its flow against the labels moved
    by theirs, in the current frame. AdjacentMotion is that of the paper:
    what moves, moved by flow * dt, against the labels of adjacent frames;
    it needs no flow label.

    Args:
        label_spec (str): label set, see LabelSpec.named.
        grid (dict | VoxelGrid, optional): the labels' grid, default the
            label set's own.
        motion (dict, optional): LabelMotion (the default) or
            AdjacentMotion, with the options that it reads alone.
        num_samples (int): voxels drawn per sample, all if there are fewer.
        statistics (str, optional): file of ``tools/create_data.py stats``
            to balance the drawing with. Default: published counts of
            classes and of speeds (LabelMotion), or counts of the frame at
            hand (AdjacentMotion).
        scale (float): standard deviation of a Gaussian in metres.
        near, far (float): depth range of the renders in metres.
        views_per_step (int, optional): cameras drawn in each state of a
            step, all by default. The mean over all draws is the loss of
            all cameras.
        depth (str): 'accumulated' or 'expected', which compares the mean
            depth of what a pixel sees.
        semantic_weight, depth_weight, alpha_weight (float): weights of the
            terms; a term of weight 0 is not reported.
        flow_weight (float): weight of the rendered flow (LabelMotion), or
            of all terms of the moved states (AdjacentMotion). Flow starts
            after the warm-up.
        backend (str): see rasterize.

    Raises:
        ValueError: for an unknown depth, or a motion that is no dict.
    """

    #: where arguments went that stood here
    moved_arguments = dict(
        move_seconds="motion=dict(type='LabelMotion', {}=...)",
        **dict.fromkeys(
            ('in_channels', 'sampling_exponent', 'above', 'border'),
            "motion=dict(type='AdjacentMotion', {}=...)",
        ),
    )

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: dict | VoxelGrid | None = None,
        # a name of older configs gets an error of its own
        motion: dict | str | None = None,
        num_samples: Count = 100_000,
        statistics: str | Path | None = None,
        scale: Positive = 0.12,
        near: Positive = 0.1,
        far: Positive = 100.0,
        views_per_step: Count | None = None,
        depth: str = 'accumulated',
        semantic_weight: NonNegative = 0.5,
        depth_weight: NonNegative = 1.0,
        alpha_weight: NonNegative = 0.0,
        flow_weight: NonNegative = 0.5,
        backend: Backend = 'auto',
    ) -> None:
        super().__init__()
        check_order(near=near, far=far)
        if depth not in DEPTHS:
            raise ValueError(f'depth must be one of {DEPTHS}, got {depth!r}')
        if isinstance(motion, str):
            raise ValueError(
                "motion must be dict(type='LabelMotion', ...) or "
                f"dict(type='AdjacentMotion', ...), got {motion!r}"
            )
        self.spec = LabelSpec.named(label_spec)
        self.grid = as_grid(grid or self.spec.grid)
        counted = None
        if statistics is not None:
            counted = LabelStatistics.load(statistics)
            counted.check(self.spec)
        self.motion = MODELS.build(
            dict(
                motion or dict(type='LabelMotion'),
                spec=self.spec,
                grid=self.grid,
                scale=scale,
                num_samples=num_samples,
                statistics=counted,
            )
        )
        self.options = dict(near=near, far=far, backend=backend)
        self.views_per_step = views_per_step
        self.expected_depth = depth == 'expected'
        self.weights = dict(
            semantic=semantic_weight, depth=depth_weight, alpha=alpha_weight
        )
        self.flow_weight = flow_weight
        self.warmup = False

    def loss(
        self, volume: Lifted, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """The render losses of a batch.

        Args:
            volume: not read; the method works on the output.
            prediction (OccPrediction): logits (B, K, X, Y, Z), flow, and
                features for AdjacentMotion.
            batch (OccBatch): needs gt_occ and render_rig, and adjacent
                for AdjacentMotion; gt_visible restricts the drawing.

        Returns:
            dict: ``loss_voxelsplat_<term>`` with LabelMotion, where the terms
            are semantic, depth, alpha and, where flow is predicted, flow.
            ``loss_voxelsplat_<group>_<term>`` with AdjacentMotion, where the
            groups are static, dynamic, moved and the names of the views
            from above; its flow term is 0, there for distributed training.

        Raises:
            ValueError: when the batch lacks what the loss needs, or when
                the prediction is not on the head's grid.
        """
        if batch.render_rig is None or batch.gt_occ is None:
            raise ValueError(
                'VoxelSplatHead needs render views and labels: add '
                'RenderViews and LoadOccLabels to the training pipeline'
            )
        shape = prediction.logits.shape[2:]
        same_shape('VoxelSplatHead logits', shape, self.grid.shape)
        with_motion = prediction.flow is not None and not self.warmup
        groups: dict[str, RenderTerms] = {}
        in_motion = set()
        for b in range(prediction.logits.shape[0]):
            for state in self.motion.states(prediction, batch, b, with_motion):
                terms = groups.setdefault(
                    state.name,
                    RenderTerms(
                        self.spec.num_classes - 1, self.expected_depth
                    ),
                )
                self._compare(state, terms)
                if state.in_motion:
                    in_motion.add(state.name)
        losses = {}
        for name, terms in groups.items():
            weight = self.flow_weight if name in in_motion else 1.0
            prefix = f'loss_voxelsplat_{name}'.rstrip('_')
            for term, share in self.weights.items():
                if share:
                    value = getattr(terms, term)()
                    losses[f'{prefix}_{term}'] = weight * share * value
        if prediction.flow is not None:
            losses['loss_voxelsplat_flow'] = self._flow_loss(
                groups, prediction.flow, with_motion
            )
        return losses

    def _flow_loss(
        self, groups: dict[str, RenderTerms], flow: Tensor, with_motion: bool
    ) -> Tensor:
        """The rendered flow's error; where there is none, 0 with a graph.

        Distributed training waits for a gradient of every parameter, that
        of the flow branch included, also while nothing moves.
        """
        loss = 0.0 * flow.sum()
        if with_motion and '' in groups:
            loss = loss + self.flow_weight * groups[''].flow()
        return loss

    def _compare(self, state: State, terms: RenderTerms) -> None:
        """Render a state twice."""
        count, classes = len(state.cameras), terms.num_semantic
        wanted = self.views_per_step or count
        if state.truth is None and wanted >= count:
            # the same Gaussians: projected and sorted once
            pair = render_pair(
                state.predicted, state.labels, classes, state.cameras,
                state.label_features, **self.options,
            )  # fmt: skip
            terms.add(*pair)
            return
        truth, labels = state.true_gaussians()
        labelled = render_labels(
            truth, labels, classes, state.cameras, **self.options
        )
        views, cameras = None, state.cameras
        if wanted < count:
            views = torch.randperm(count)[:wanted]
            views = views.to(labelled.depth.device)
            cameras = cameras.chosen(views)
        predicted = render(state.predicted, cameras, **self.options)
        known = None
        if state.in_motion:
            known, labelled = _split_unknown(labelled)
        terms.add(predicted, labelled, views, known)


def _split_unknown(labelled: RenderOutput) -> tuple[Tensor, RenderOutput]:
    """Which pixels see nothing unknown, 0 or 1, and the labels alone."""
    unknown = labelled.features[..., -1]
    rest = RenderOutput(
        labelled.features[..., :-1], labelled.depth, labelled.alpha
    )
    known = unknown <= MAX_UNKNOWN * labelled.alpha
    return known.float(), rest
