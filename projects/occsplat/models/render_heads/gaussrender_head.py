"""GaussRender: prediction and labels seen by the same virtual cameras.

GaussRender, 2025. Every voxel is a ball of fixed size, coloured with its
class probabilities. The prediction and the labels are rendered from
sensors, from cameras that stand elsewhere and from above, and compared
pixel by pixel.

Shape letters: B batch, V views, G Gaussians, K classes (free included),
F features, X Y Z voxels, H W pixels.

::

    logits (B, K, X, Y, Z) -> probabilities (G, K), opacities (G,)
    labels (B, X, Y, Z)    -> class ids (G,), opacity 1
      -> images (V, H, W, K), depths (V, H, W), alphas (V, H, W) of both
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Sequence

import torch
from mmdet3d.registry import MODELS, TASK_UTILS
from mmengine.dist import get_rank
from torch import Tensor, nn

from occsplat.rendering import (
    LabelCache,
    RenderOutput,
    render,
    render_labels,
    render_pair,
)
from occsplat.rendering.arguments import Backend
from occsplat.rendering.definition import MIN_ALPHA, may_see
from occsplat.structures import (
    CameraRig,
    Cameras,
    Gaussians,
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
    as_grid,
    same_shape,
)
from occsplat.structures.checks import Count, NonNegative, Positive, checked

from ..interfaces import Lifted
from ..losses import image_kl_loss, image_l1_loss, masked_depth_loss
from .camera_strategies import Scene
from .virtual_views import CameraViews, PinholeFromAbove, Placed, PlaneView

OPACITIES = ('free_prob', 'learned', 'hard')
SEMANTIC_LOSSES = dict(l1=image_l1_loss, kl=image_kl_loss)
#: The recipe of the text, that of the released code, and the one that has
#: helped a training of minutes, which learns what a sensor sees: see docs.
PRESETS = dict(
    gaussrender_paper=dict(
        weight=15.0,
        views=(
            dict(type=CameraViews, strategy='elevated_around'),
            dict(type=PlaneView),
        ),
    ),
    gaussrender_released=dict(
        weight=10.0,
        views=(
            dict(
                type=CameraViews,
                strategy='sensor',
                # front and back twice as often, in the order of CAMERAS
                camera_weights=(1, 2, 1, 1, 2, 1),
                depth_range=50.0,
            ),
            dict(type=PinholeFromAbove, depth_range=100.0),
        ),
    ),
    gaussrender_sensor=dict(
        weight=10.0,
        views=(dict(type=CameraViews, strategy='sensor', depth_range=50.0),),
    ),
)


@MODELS.register_module()
class GaussRenderHead(nn.Module):
    """Image, depth and opacity losses between rendered volumes.

    Voxels whose label is 'ignore' are left out of both. Where nothing is
    hit a pixel shows the free class.

    Args:
        label_spec (str): label set, see LabelSpec.named.
        grid (dict | VoxelGrid, optional): the labels' grid, default the
            label set's own.
        preset (str): 'gaussrender_paper', 'gaussrender_released' or
            'gaussrender_sensor', which set ``views`` and ``weight`` where
            these are not given.
        views (sequence of dict, optional): CameraViews, PlaneView and
            PinholeFromAbove, each with a name of its own.
        weight (float, optional): of the sum of all terms (the paper's
            lambda).
        scale (float, optional): standard deviation of a Gaussian in
            metres, default half a voxel.
        opacity (str): 'free_prob', 1 - p(free); 'learned', an MLP on the
            voxel features; 'hard', 1 where the likeliest class is not
            free, without a gradient.
        in_channels (int, optional): F, for 'learned'.
        semantic_loss (str): 'l1' or 'kl'.
        near (float): depth in metres at which renders begin.
        cache (str, optional): folder that keeps the label images of fixed
            views (the sensors' own, planes), see LabelCache. The losses
            stay the same to the last bit. Worth it without a volume
            augmentation, or with one that only mirrors: rotated at random,
            labels never come back.
        backend (str): see rasterize.

    Raises:
        ValueError: for an unknown preset, opacity or semantic loss, for
            views of the same name, or for 'learned' without in_channels.
    """

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: dict | VoxelGrid | None = None,
        preset: str = 'gaussrender_paper',
        views: Sequence[dict] | None = None,
        weight: NonNegative | None = None,
        scale: Positive | None = None,
        opacity: str = 'free_prob',
        in_channels: Count | None = None,
        semantic_loss: str = 'l1',
        near: Positive = 0.2,
        cache: str | Path | None = None,
        backend: Backend = 'auto',
    ) -> None:
        super().__init__()
        for name, value, known in (
            ('preset', preset, PRESETS),
            ('opacity', opacity, OPACITIES),
            ('semantic_loss', semantic_loss, SEMANTIC_LOSSES),
        ):
            if value not in known:
                raise ValueError(
                    f'{name} must be one of {tuple(known)}, got {value!r}'
                )
        chosen = PRESETS[preset]
        self.spec = LabelSpec.named(label_spec)
        self.grid = as_grid(grid or self.spec.grid)
        self.views = [
            TASK_UTILS.build(dict(view)) for view in views or chosen['views']
        ]
        names = [view.name for view in self.views]
        if len(set(names)) < len(names):
            raise ValueError(f'views need names of their own, got {names}')
        self.weight = chosen['weight'] if weight is None else weight
        self.scale = scale or 0.5 * sum(self.grid.size) / 3
        self.opacity = opacity
        self.semantic_loss = SEMANTIC_LOSSES[semantic_loss]
        self.options = dict(near=near, backend=backend)
        self.cache = None
        if cache is not None:
            settings = dict(
                label_spec=self.spec.name,
                grid=[self.grid.range, self.grid.shape],
                scale=self.scale,
                near=near,
            )
            self.cache = LabelCache(cache, settings)
        self.opacity_mlp = None
        if opacity == 'learned':
            if in_channels is None:
                raise ValueError(
                    "opacity='learned' needs in_channels, the number of "
                    "the occupancy head's feature channels"
                )
            self.opacity_mlp = _opacity_mlp(in_channels)

    def loss(
        self, volume: Lifted, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """The terms of all views, averaged over the batch.

        Args:
            volume: not read; the method works on the output.
            prediction (OccPrediction): logits (B, K, X, Y, Z), and
                features where opacity is learned.
            batch (OccBatch): needs gt_occ, and render_rig, whose first
                cameras are those of the key frame.

        Returns:
            dict: ``loss_gaussrender_<view>_semantic``, ``_depth`` and
            ``_alpha``, as far as their weights are not 0.

        Raises:
            ValueError: when the batch lacks render views, or when the
                prediction is not on the head's grid.
        """
        self._check(prediction, batch)
        sums: dict[str, Tensor] = {}
        # one draw from the common generator: what is resumed draws the same
        seed = int(torch.randint(2**31, ())) + get_rank()
        generator = torch.Generator().manual_seed(seed)
        count = prediction.logits.shape[0]
        for b in range(count):
            for name, term in self._sample_losses(
                prediction, batch, b, generator
            ):
                key = f'loss_gaussrender_{name}'
                sums[key] = sums.get(key, 0.0) + self.weight * term / count
        return sums

    def _sample_losses(
        self,
        prediction: OccPrediction,
        batch: OccBatch,
        b: int,
        generator: torch.Generator,
    ) -> list[tuple[str, Tensor]]:
        """(name, weighted term) of one sample."""
        logits = prediction.logits[b].flatten(1).float()  # (K, X * Y * Z)
        occ = batch.gt_occ[b].flatten()
        occupied = self.spec.is_occupied(occ)
        means = self.grid.centers(logits.device).view(-1, 3)
        scene = Scene(
            self._sensors(batch, b),
            self.grid,
            means[occupied],
            self._error(logits, occ),
        )
        drawn = [sampler(scene, generator) for sampler in self.views]
        probs = logits.softmax(dim=0)
        index, opacities = self._opacities(
            prediction, b, probs, occ, means, drawn
        )
        labels = torch.where(occupied[index], occ[index], -1)
        gaussians = Gaussians(
            means[index],
            torch.full_like(means[index], self.scale),
            opacities,
            # once, instead of in each view
            probs.index_select(1, index).T.contiguous(),
        )
        terms = []
        for sampler, placed in zip(self.views, drawn):
            pair = self._render(gaussians, labels, placed, occ)
            for term, value in self._compare(
                sampler.weights, placed.depth_range, *pair
            ):
                weight = sampler.weights[term]
                terms.append((f'{sampler.name}_{term}', weight * value))
        return terms

    def _render(
        self, gaussians: Gaussians, labels: Tensor, placed: Placed, occ: Tensor
    ) -> tuple[RenderOutput, RenderOutput]:
        """Images of the prediction and of the labels."""
        if self.cache is None or not placed.fixed:
            return render_pair(
                gaussians, labels, self.spec.num_classes, placed.cameras,
                **self.options,
            )  # fmt: skip
        truth = self.cache.fetch(
            occ,
            placed.cameras,
            lambda some: self._label_images(gaussians, labels, some),
        )
        return render(gaussians, placed.cameras, **self.options), truth

    def _label_images(
        self, gaussians: Gaussians, labels: Tensor, cameras: Cameras
    ) -> RenderOutput:
        """For the cache."""
        there = labels >= 0
        true = replace(
            gaussians,
            opacities=torch.ones_like(gaussians.opacities),
            features=gaussians.features[:, :0],
        )
        return render_labels(
            true.chosen(there), labels[there], self.spec.num_classes, cameras,
            **self.options,
        )  # fmt: skip

    def _compare(
        self,
        weights: dict[str, float],
        depth_range: float,
        predicted: RenderOutput,
        true: RenderOutput,
    ) -> list[tuple[str, Tensor]]:
        """The terms of a view whose weight is not 0."""
        terms = dict(
            semantic=lambda: self.semantic_loss(
                self._with_free(predicted), self._with_free(true)
            ),
            depth=lambda: masked_depth_loss(
                predicted.depth, true.depth, depth_range
            ),
            alpha=lambda: image_l1_loss(predicted.alpha, true.alpha),
        )
        return [(k, f()) for k, f in terms.items() if weights[k]]

    def _with_free(self, out: RenderOutput) -> Tensor:
        """Class probabilities of pixels; the background is free space."""
        background = nn.functional.one_hot(
            torch.tensor(self.spec.free), self.spec.num_classes
        )
        left = (1 - out.alpha)[..., None]
        return out.features + left * background.to(left)

    def _opacities(
        self,
        prediction: OccPrediction,
        b: int,
        probs: Tensor,  # (K, X * Y * Z)
        occ: Tensor,  # (X * Y * Z,)
        means: Tensor,  # (X * Y * Z, 3)
        drawn: list[Placed],
    ) -> tuple[Tensor, Tensor]:
        """Voxels (G,) that leave a trace in any image; opacities (G,).

        Exact: what is left out is out of sight, or below 1/255 where the
        labels are free, and so is in no image and has no gradient.
        """
        kept = occ != self.spec.ignore
        if self.opacity == 'learned':
            # an MLP on every voxel would cost more than the renders
            near = self.options['near']
            seen = [
                may_see(means, self.scale, placed.cameras, near)
                for placed in drawn
            ]
            index = (kept & torch.stack(seen).any(dim=0)).nonzero()[:, 0]
            features = prediction.features[b].flatten(1)
            features = features.index_select(1, index).T.float()
            return index, self.opacity_mlp(features)[:, 0].sigmoid()
        opacities = 1 - probs[self.spec.free]
        if self.opacity == 'hard':
            opacities = (probs.argmax(dim=0) != self.spec.free).float()
        traces = (opacities.detach() >= MIN_ALPHA) | (occ != self.spec.free)
        index = (kept & traces).nonzero()[:, 0]
        return index, opacities.index_select(0, index)

    def _error(self, logits: Tensor, occ: Tensor) -> Tensor:
        """Cross-entropy of each voxel, 0 where ignored, (X, Y, Z)."""
        if not any(view.reads_error for view in self.views):
            return logits.new_zeros(self.grid.shape)
        error = nn.functional.cross_entropy(
            logits.detach().T,
            occ,
            reduction='none',
            ignore_index=self.spec.ignore,
        )
        return error.view(self.grid.shape)

    def _sensors(self, batch: OccBatch, b: int) -> CameraRig:
        """The key frame's cameras, at the size of the render views."""
        count = batch.rig.num_cameras
        return batch.render_rig[b][:count]

    def _check(self, prediction: OccPrediction, batch: OccBatch) -> None:
        if batch.render_rig is None or batch.gt_occ is None:
            raise ValueError(
                'GaussRenderHead needs render views and labels: add '
                'RenderViews and LoadOccLabels to the training pipeline'
            )
        count = batch.rig.num_cameras
        if batch.render_rig.num_cameras < count or bool(
            batch.render_dt[:, :count].any()
        ):
            raise ValueError(
                f'GaussRenderHead expects the {count} cameras of the key '
                'frame first among the render views: let the frames of '
                'RenderViews begin with 0'
            )
        shape = prediction.logits.shape[2:]
        same_shape('GaussRenderHead logits', shape, self.grid.shape)


def _opacity_mlp(channels: int) -> nn.Sequential:
    """Three layers; opacities begin around sigmoid(-1) = 0.269."""
    mlp = nn.Sequential(
        nn.Linear(channels, channels),
        nn.ReLU(),
        nn.Linear(channels, channels),
        nn.ReLU(),
        nn.Linear(channels, 1),
    )
    for layer in mlp:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.constant_(mlp[-1].bias, -1.0)
    return mlp
