"""VoxelSplat's loss as the paper tells it: flow from adjacent frames.

Shape letters: B batch, G Gaussians, K classes (free included), S semantic
classes (free excluded), F features, X Y Z voxels, M adjacent frames.

::

    labels (X, Y, Z) -> drawn occupied voxels (G,), static or dynamic
      static, dynamic   against their own labels, in the render views
      dynamic + flow*dt against frame m's labels in frame m's cameras, and
                        from above
"""

from __future__ import annotations

from dataclasses import replace
from typing import Iterator, Sequence

import torch
from mmdet3d.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

from occsplat.structures import (
    AdjacentFrames,
    Gaussians,
    LabelSpec,
    LabelStatistics,
    OccBatch,
    OccPrediction,
    VoxelGrid,
    inverse,
    same_shape,
    transform_points,
)
from occsplat.structures.checks import (
    Count,
    NonNegative,
    Positive,
    checked,
)

from .camera_strategies import Scene
from .gaussian_decoder import GaussianDecoder
from .render_state import (
    State,
    class_logits,
    opaque,
    seen_voxels,
)
from .virtual_views import PlaneView
from .voxel_sampling import GroupBalance, draw_voxels


@MODELS.register_module()
class AdjacentMotion(nn.Module):
    """The paper's states: what moves is looked for in adjacent frames.

    VoxelSplat (CVPR 2025), section 3. Drawn occupied voxels become
    Gaussians through a decoder; the labels split them into static ones G_s
    and dynamic ones G_d, those of movable classes. Rendered and compared
    are G_s and G_d in the cameras of RenderViews, and G_d moved by
    flow * dt in the cameras of each adjacent frame, against that frame's
    own labels. No flow label is read but to balance the drawing, where
    there is one.

    Ours, where the paper is silent: every voxel of a movable class can be
    drawn, seen or not, since the labels of the other frame show whole
    objects. The moved Gaussians keep opacity, shape and class fixed: a
    wrong flow can't be made good by fading. Labels that come from outside
    of the current volume are marked as unknown, and Gaussians that leave
    the other one are dropped; a flow that is far too large near the edge is
    mended by what shares its weights alone.

    Args:
        spec (LabelSpec): the label set.
        grid (VoxelGrid): of the labels.
        scale (float): standard deviation of a label's Gaussian in metres,
            where that of the decoder's begins.
        num_samples (int): voxels drawn per sample, all if there are fewer.
            The labels of adjacent frames are not drawn from: where this
            leaves many movable voxels out, what moves looks thinner.
        in_channels (int): F, of the occupancy head's features, which the
            Gaussian decoder reads.
        statistics (LabelStatistics, optional): balances the drawing;
            counts of the frame at hand by default.
        sampling_exponent (float): t of 1 / (N^t + 1).
        above (sequence of dict): PlaneViews for the moved state, beside the
            cameras, each with a name of its own; only where they look from
            counts. A coarse one lets things find each other that are
            farther apart.
        border (float): metres from the edge of the known volume within
            which labels of an adjacent frame may have come from outside.

    The label set, the grid, scale, num_samples and statistics come from
    VoxelSplatHead.

    Raises:
        ValueError: for views of the same name.
    """

    @checked
    def __init__(
        self,
        spec: LabelSpec,
        grid: VoxelGrid,
        scale: Positive,
        num_samples: Count,
        in_channels: Count,
        statistics: LabelStatistics | None = None,
        sampling_exponent: NonNegative = 1.0,
        above: Sequence[dict] = (),
        border: NonNegative = 5.0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.grid = grid
        self.scale = scale
        self.num_samples = num_samples
        self.balance = GroupBalance(spec, statistics, sampling_exponent)
        self.decoder = GaussianDecoder(in_channels, grid, scale)
        self.above: list[PlaneView] = [
            TASK_UTILS.build(dict(view)) for view in above
        ]
        names = ['moved', *(view.name for view in self.above)]
        if len(set(names)) < len(names):
            raise ValueError(
                "above: views need names of their own, other than 'moved', "
                f'got {names[1:]}'
            )
        self.border = border
        movable = torch.zeros(256, dtype=torch.bool)
        movable[list(spec.movable)] = True
        self.register_buffer('movable', movable, persistent=False)

    def states(
        self,
        prediction: OccPrediction,
        batch: OccBatch,
        b: int,
        with_motion: bool,
    ) -> Iterator[State]:
        """Static and dynamic now, dynamic in the adjacent frames.

        Raises:
            ValueError: when the batch has no adjacent frames or those of
                another grid, or the prediction no features.
        """
        self._check(prediction, batch)
        occ = batch.gt_occ[b].flatten()
        voxels = self.sample_voxels(
            batch.gt_occ[b],
            None if batch.gt_flow is None else batch.gt_flow[b],
            None if batch.gt_visible is None else batch.gt_visible[b],
        )
        predicted = self._predicted(prediction, b, voxels)
        dynamic = self.movable[occ[voxels]]
        cameras = batch.render_rig[b].cameras
        for name, part in (('static', ~dynamic), ('dynamic', dynamic)):
            yield State(
                name,
                predicted.chosen(part),
                self.spec.channels_of(occ[voxels[part]]),
                cameras,
                truth=opaque(self.grid, self.scale, voxels[part]),
            )
        if with_motion:
            flow = prediction.flow[b].flatten(1)[:, voxels[dynamic]].T
            yield from self._moved_states(
                predicted.chosen(dynamic),
                flow,
                batch.gt_occ[b],
                batch.adjacent[b],
            )

    def sample_voxels(
        self, occ: Tensor, flow: Tensor | None, visible: Tensor | None
    ) -> Tensor:
        """Draw occupied voxels that are seen or movable; see LabelMotion."""
        known = self.spec.is_occupied(occ)
        candidates = known & (seen_voxels(occ, visible) | self.movable[occ])
        return draw_voxels(
            candidates.flatten(),
            self.num_samples,
            self.balance,
            occ.flatten(),
            None if flow is None else flow.flatten(1),
        )

    def _predicted(
        self, prediction: OccPrediction, b: int, voxels: Tensor
    ) -> Gaussians:
        embedding = prediction.features[b].flatten(1)
        opacities, scales, quats = self.decoder(
            embedding.index_select(1, voxels).T.float(), voxels
        )
        return Gaussians(
            self.grid.centers(voxels.device).view(-1, 3)[voxels],
            scales,
            opacities,
            class_logits(self.spec, prediction, b, voxels),
            quats,
        )

    def _moved_states(
        self,
        dynamic: Gaussians,
        flow: Tensor,
        occ: Tensor,
        frames: AdjacentFrames,
    ) -> Iterator[State]:
        # gradients go to the flow alone
        fixed = Gaussians(**{k: v.detach() for k, v in vars(dynamic).items()})
        unsure = self._unsure(occ)
        for m in range(len(frames)):
            if frames.dt[m] == 0:  # the scene ends here
                continue
            truth, labels = self._labels_of(frames, m, unsure)
            moved = fixed.moved(flow * frames.dt[m])
            inside = self._inside(moved.means.detach(), frames, m)
            moved = moved.chosen(inside)
            views = [('moved', frames.rig[m].cameras)]
            scene = Scene(frames.rig[m], self.grid)
            for view in self.above:
                views.append((view.name, view(scene).cameras))
            for name, cameras in views:
                yield State(
                    name,
                    moved,
                    labels,
                    cameras,
                    truth,
                    in_motion=True,
                )

    def _labels_of(
        self, frames: AdjacentFrames, m: int, unsure: Tensor
    ) -> tuple[Gaussians, Tensor]:
        """An adjacent frame's movable voxels in the current frame."""
        occ = frames.occ[m].flatten().long()
        voxels = self.movable[occ].nonzero()[:, 0]
        truth = opaque(self.grid, self.scale, voxels)
        means = transform_points(frames.frame2ref[m], truth.means)
        index, inside = self.grid.locate(means)
        limit = index.new_tensor(self.grid.shape) - 1
        x, y, _ = index.clamp(min=0).minimum(limit).unbind(1)
        unknown = (~inside | unsure[x, y]).float()[:, None]
        truth = replace(truth, means=means, features=unknown)
        return truth, self.spec.channels_of(occ[voxels])

    def _unsure(self, occ: Tensor) -> Tensor:
        """Columns near the edge of what is labelled now, bool (X, Y)."""
        outside = (occ == self.spec.ignore).all(dim=2).float()
        reach = [
            max(1, round(self.border / size)) for size in self.grid.size[:2]
        ]
        padded = nn.functional.pad(
            outside[None],
            (reach[1], reach[1], reach[0], reach[0]),
            value=1.0,
        )
        window = [2 * r + 1 for r in reach]
        return nn.functional.max_pool2d(padded, window, stride=1)[0] > 0

    def _inside(self, means: Tensor, frames: AdjacentFrames, m: int) -> Tensor:
        """Points whose place the other frame has labels for, (G,)."""
        back = inverse(frames.frame2ref[m])
        index, inside = self.grid.locate(transform_points(back, means))
        x, y, z = torch.where(inside[:, None], index, 0).unbind(1)
        return inside & (frames.occ[m][x, y, z] != self.spec.ignore)

    def _check(self, prediction: OccPrediction, batch: OccBatch) -> None:
        if batch.adjacent is None:
            raise ValueError(
                'AdjacentMotion needs the labels of adjacent frames: add '
                'LoadAdjacentFrames to the training pipeline'
            )
        for frames in batch.adjacent:
            same_shape(
                'occ of adjacent frames', frames.occ.shape[1:], self.grid.shape
            )
        if prediction.features is None:
            raise ValueError(
                'AdjacentMotion decodes Gaussians from voxel features, '
                'and the occupancy head gives none'
            )
