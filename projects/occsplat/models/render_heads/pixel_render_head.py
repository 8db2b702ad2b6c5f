"""Losses at the labelled pixels of one or more key frames.

What GSRender (2024) and RenderOcc (ICRA 2024) have in common: LiDAR
returns label pixels of this and neighbouring key frames with a class and a
depth, and the prediction is rendered there. How it is rendered is up to a
subclass.

Shape letters: B batch, M key frames, N cameras, P labelled pixels, K classes
(free included), S semantic classes (free excluded), X Y Z voxels.

::

    prediction, PixelLabels
      -> the prediction that frame m sees: the current one, or for m > 0
         the one on the voxels of frame m (ray compensation)
      -> rendered at the frame's pixels   semantics (P, S), depth (P,)
      -> L = L_0 + omega * sum of L_m     (GSRender, eq. 14)

A return from beyond the volume says nothing of a surface in it, but that
there is none all along its ray: see ``outside``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccBatch,
    OccPrediction,
    PixelLabels,
    VoxelGrid,
    as_grid,
    inverse,
    same_shape,
)
from occsplat.structures.checks import Fraction, NonNegative, checked

from ..interfaces import Lifted
from ..losses import balanced_cross_entropy, log_count_weights, silog_loss
from .pixel_sampling import where_rays_end
from .ray_compensation import compensate

LEVELS = ('feature', 'logits')
DYNAMICS = ('class', 'instance')
DEPTHS = ('accumulated', 'expected')
TERMS = ('semantic', 'depth')
OUTSIDE = ('free', 'drop', 'keep')


@dataclass
class FramePixels:
    """What a subclass renders: one frame of one sample.

    Attributes:
        prediction (OccPrediction): of the whole batch.
        sample (int): which sample of it.
        inside (Tensor | None): voxels that count, bool (X, Y, Z); all of
            them by default.
        ref2lattice (Tensor): reference frame -> the frame whose voxels
            the prediction's volumes stand for, (4, 4).
        rig (CameraRig): the frame's N cameras, reference frame.
        pixels (Tensor): camera, row and column, int64 (P, 3).
    """

    prediction: OccPrediction
    sample: int
    inside: Tensor | None
    ref2lattice: Tensor
    rig: CameraRig
    pixels: Tensor


@dataclass
class RenderedPixels:
    """What a subclass sees in the pixels.

    Attributes:
        semantic (Tensor): class logits, (P, S).
        depth (Tensor): accumulated depth, metres, (P,).
        alpha (Tensor): accumulated opacity, (P,).
        absorbed (Tensor): -log(1 - alpha), finite, (P,). A subclass knows
            how to compute it where alpha is rounded to 1.
        costs (dict): further losses of each pixel, weighted, (P,).
    """

    semantic: Tensor
    depth: Tensor
    alpha: Tensor
    absorbed: Tensor
    costs: dict[str, Tensor] = field(default_factory=dict)


class PixelRenderHead(nn.Module):
    """Base of GSRenderHead and NeRFRenderHead.

    Args:
        label_spec (str): label set, see LabelSpec.named.
        grid (dict | VoxelGrid, optional): the prediction's, default the
            label set's own.
        level (str): how the prediction gets into neighbouring frames:
            'feature' is ray compensation, 'logits' looks at the current
            prediction with the neighbours' cameras, as RenderOcc does.
        frame_weight (float): omega, weight of each neighbouring frame.
        dynamic_weight (float): alpha, weight of dynamic pixels of
            neighbouring frames: where they were labelled they are not now.
        dynamic (str): which pixels are dynamic: those of the
            dynamic_classes ('class'), or those on annotated objects that
            really move ('instance').
        dynamic_classes (sequence of int, optional): class ids, default the
            label set's movable ones.
        dynamic_terms (sequence of str): which of 'semantic' and 'depth'
            alpha weighs; equations 12 and 13 say both, section 8 the depth.
        sampling (dict, optional): AllPixels (the default), whose losses
            are weighed by frame_weight and dynamic_weight; or RarePixels,
            which draws by them, and one loss takes in all frames.
        depth (str): 'accumulated' sums weight times depth, so that
            what a ray sees too little of seems near; 'expected' divides
            by the sum of the weights.
        variance_focus (float): see silog_loss.
        semantic_weight, depth_weight (float): weights of the terms.
        outside (str): what labels teach whose surface lies outside the
            volume. 'free': those beyond it, that their ray meets nothing
            on its way through, ``mean(-log(1 - alpha))``, where alpha
            here is the opacity along the ray; the others nothing. Dynamic
            ones count dynamic_weight, as they may have moved along the
            ray. 'drop': nothing. 'keep': class and depth like all
            others, as RenderOcc's released code has it, which only an
            opaque shell on the volume's rim can satisfy.
        free_weight (float): weight of the term of 'free'.

    Raises:
        ValueError: for an unknown level, dynamic, depth, term or outside.
    """

    #: where arguments went that stood here
    moved_arguments = dict(
        num_pixels="sampling=dict(type='RarePixels', {}=...)"
    )

    #: of the keys in the dict of losses
    name: str
    #: names of a subclass's own costs
    costs: tuple[str, ...] = ()

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: dict | VoxelGrid | None = None,
        level: str = 'feature',
        frame_weight: NonNegative = 0.8,
        dynamic_weight: NonNegative = 0.1,
        dynamic: str = 'class',
        dynamic_classes: Sequence[int] | None = None,
        dynamic_terms: Sequence[str] = TERMS,
        sampling: dict | None = None,
        depth: str = 'accumulated',
        variance_focus: Fraction = 0.85,
        semantic_weight: NonNegative = 1.0,
        depth_weight: NonNegative = 1.0,
        outside: str = 'free',
        free_weight: NonNegative = 0.3,
    ) -> None:
        super().__init__()
        choices = [
            ('level', level, LEVELS),
            ('dynamic', dynamic, DYNAMICS),
            ('depth', depth, DEPTHS),
            ('outside', outside, OUTSIDE),
            *(('dynamic_terms', term, TERMS) for term in dynamic_terms),
        ]
        for name, value, known in choices:
            if value not in known:
                raise ValueError(
                    f'{name} must be one of {known}, got {value!r}'
                )
        self.spec = spec = LabelSpec.named(label_spec)
        if dynamic_classes is None:
            dynamic_classes = spec.movable
        unknown = set(dynamic_classes) - set(spec.occupied)
        if unknown:
            raise ValueError(
                f'dynamic_classes must be among {spec.occupied}, the ids of '
                f'{spec.name!r}, got {sorted(unknown)}'
            )
        self.grid = spec.grid if grid is None else as_grid(grid)
        self.level = level
        self.frame_weight = frame_weight
        self.dynamic_weight = dynamic_weight
        self.dynamic = dynamic
        self.dynamic_terms = tuple(dynamic_terms)
        self.sampling = MODELS.build(
            dict(sampling or dict(type='AllPixels'), label_spec=spec)
        )
        self.depth = depth
        self.variance_focus = variance_focus
        self.semantic_weight = semantic_weight
        self.depth_weight = depth_weight
        self.outside = outside
        self.free_weight = free_weight
        occupied = list(spec.occupied)
        moves = torch.zeros(spec.num_classes, dtype=torch.bool)
        moves[list(dynamic_classes)] = True
        balance = log_count_weights(spec.counts)[occupied]
        buffers = dict(moves=moves, balance=balance)
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def render(self, view: FramePixels) -> RenderedPixels:
        """Render one frame of one sample at its labelled pixels."""
        raise NotImplementedError

    def loss(
        self, volume: Lifted, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """Compare what is rendered with the labels.

        Args:
            volume: what was lifted, not looked at.
            prediction (OccPrediction): what the occupancy head said.
            batch (OccBatch): with pixel_labels.

        Returns:
            dict: ``loss_<name>_semantic``, ``loss_<name>_depth``,
            ``loss_<name>_free`` (where outside is 'free') and the subclass's
            own costs of the current frame (of all frames, where pixels are
            drawn), and with '_adjacent' at the end those of the other
            frames, if there are any.

        Raises:
            ValueError: when the batch has no pixel labels, or the
                prediction nothing to render.
        """
        if batch.pixel_labels is None:
            raise ValueError(
                f'{type(self).__name__} learns from labelled pixels, got '
                'none: add LoadPixelLabels to the training pipeline'
            )
        same_shape('prediction', prediction.logits.shape[2:], self.grid.shape)
        labels = [self._drawn(self._placed(one)) for one in batch.pixel_labels]
        rendered = [
            self._render_frame(prediction, labels, m)
            for m in range(labels[0].num_frames)
        ]
        if self.sampling.draws:
            return self._terms(_joined(rendered), '')
        losses = self._terms(rendered[0], '')
        for frame in rendered[1:]:
            for key, value in self._terms(frame, '_adjacent').items():
                value = self.frame_weight * value
                losses[key] = losses.get(key, 0.0) + value
        return losses

    def _dynamic(self, labels: PixelLabels) -> Tensor:
        """Which pixels are dynamic and of another frame, bool (P,)."""
        moving = labels.moving
        if self.dynamic == 'class':
            moving = self.moves[labels.label]
        return moving & (labels.index[:, 0] > 0)

    def _placed(self, labels: PixelLabels) -> PixelLabels:
        """Labels by where their surface lies, as ``outside`` says.

        Those that say that their ray is free get an infinite depth.
        """
        if self.outside == 'keep':
            return labels
        inside = torch.zeros_like(labels.moving)
        passes = torch.zeros_like(inside)
        for m in range(labels.num_frames):
            mine = (labels.index[:, 0] == m).nonzero()[:, 0]
            rays = labelled_rays(labels.rig[m], labels.index[mine, 1:])
            ref2frame = None
            if m > 0 and self.level == 'feature':
                # what is rendered is the overlap of both frames' volumes
                ref2frame = inverse(labels.frame2ref[m])
            inside[mine], passes[mine] = where_rays_end(
                self.grid, *rays, labels.depth[mine], ref2frame
            )
        if self.outside == 'drop':
            return labels.chosen(inside)
        depth = torch.where(passes, torch.inf, labels.depth)
        return replace(labels, depth=depth).chosen(inside | passes)

    def _drawn(self, labels: PixelLabels) -> PixelLabels:
        other = labels.index[:, 0] > 0
        dynamic = self._dynamic(labels)
        discounts = (other, self.frame_weight), (dynamic, self.dynamic_weight)
        return self.sampling(labels, discounts)

    def _render_frame(
        self,
        prediction: OccPrediction,
        labels: Sequence[PixelLabels],
        m: int,
    ) -> dict[str, Tensor]:
        """Frame m of all samples: one row per pixel."""
        inside = None
        pixels = sum(int((one.index[:, 0] == m).sum()) for one in labels)
        # where no sample has such a frame there is nothing to ask
        if m > 0 and self.level == 'feature' and pixels:
            frame2ref = torch.stack([one.frame2ref[m] for one in labels])
            seen = compensate(prediction, self.grid, frame2ref)
            prediction, inside = seen.prediction, seen.inside
        rows = []
        for b, one in enumerate(labels):
            chosen = one.chosen(one.index[:, 0] == m)
            ref2lattice = torch.eye(4).to(one.frame2ref)
            if inside is not None:
                ref2lattice = inverse(one.frame2ref[m])
            view = FramePixels(
                prediction,
                b,
                None if inside is None else inside[b],
                ref2lattice,
                one.rig[m],
                chosen.index[:, 1:],
            )
            out = self.render(view)
            depth = out.depth
            if self.depth == 'expected':
                depth = depth / out.alpha.clamp(min=1e-6)
            rows.append(
                dict(
                    semantic=out.semantic,
                    depth=depth,
                    label=self.spec.channels_of(chosen.label),
                    true_depth=chosen.depth,
                    dynamic=self._dynamic(chosen),
                    absorbed=out.absorbed,
                    **out.costs,
                )
            )
        return _joined(rows)

    def _terms(
        self, frame: dict[str, Tensor], ending: str
    ) -> dict[str, Tensor]:
        extra = {cost: _mean(frame[cost]) for cost in self.costs}
        if self.outside == 'free':
            surface = frame['true_depth'].isfinite()
            extra['free'] = self._free(_chosen(frame, ~surface))
            frame = _chosen(frame, surface)
        weight = dict.fromkeys(TERMS)
        if not self.sampling.draws:
            alpha = self._alpha(frame)
            weight.update(dict.fromkeys(self.dynamic_terms, alpha))
        semantic = balanced_cross_entropy(
            frame['semantic'], frame['label'], self.balance, weight['semantic']
        )
        depth = silog_loss(
            frame['depth'],
            frame['true_depth'],
            weight['depth'],
            self.variance_focus,
        )
        terms = dict(
            semantic=self.semantic_weight * semantic,
            depth=self.depth_weight * depth,
            **extra,
        )
        return {
            f'loss_{self.name}_{key}{ending}': term
            for key, term in terms.items()
        }

    def _free(self, frame: dict[str, Tensor]) -> Tensor:
        """What it costs that something stands on free rays."""
        absorbed = frame['absorbed']
        if not self.sampling.draws:
            # what is beyond the volume may have driven along the ray
            absorbed = self._alpha(frame) * absorbed
        return self.free_weight * _mean(absorbed)

    def _alpha(self, frame: dict[str, Tensor]) -> Tensor:
        """How much each pixel counts, (P,)."""
        return torch.where(frame['dynamic'], self.dynamic_weight, 1.0)


def labelled_rays(rig: CameraRig, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Rays through the centres of pixels, reference frame.

    Args:
        rig (CameraRig): N cameras.
        pixels (Tensor): camera, row and column, int64 (P, 3).

    Returns:
        tuple: origins (P, 3) in metres, and directions (P, 3) that advance
        by one metre of camera z: a point at depth z is origin + z *
        direction.
    """
    origins, turn = rig.pixel_rays()
    camera, row, column = pixels.unbind(dim=1)
    centre = torch.stack([column + 0.5, row + 0.5], dim=1).to(turn)
    centre = torch.cat([centre, torch.ones_like(centre[:, :1])], dim=1)
    return origins[camera], (turn[camera] @ centre[:, :, None])[:, :, 0]


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _chosen(frame: dict[str, Tensor], pixels: Tensor) -> dict[str, Tensor]:
    return {key: value[pixels] for key, value in frame.items()}


def _mean(values: Tensor) -> Tensor:
    """Mean (P,); 0 with a graph where there is no pixel."""
    return values.sum() / max(len(values), 1)
