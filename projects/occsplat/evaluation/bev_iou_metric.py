"""IoU of what is on top of each column, as a metric of mmengine.

Shape letters: X Y Z voxels.
"""

from __future__ import annotations

from typing import Mapping

import torch
from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.structures import LabelSpec, VoxelGrid
from occsplat.structures.checks import checked

from .count_metric import CountMetric, Rows, iou_rows
from .gaussrender_protocol import (
    UNSEEN,
    check_protocol,
    count_released_columns,
)
from .voxel_counts import VoxelCounts, count_voxels, without_ignored


@METRICS.register_module()
class BEVIoUMetric(CountMetric[VoxelCounts]):
    """mIoU and IoU of the scene seen from above.

    The class of a column (x, y) is that of its highest occupied voxel, or
    free. Voxels that the truth ignores are taken out of truth and
    prediction; a column of which nothing is known does not count.

    By GaussRender's protocol the classes are those of the pixels of a
    rendered view instead, see ``count_released_columns``.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        prefix (str, optional): as in CountMetric.
        protocol (str): 'occsplat', or 'gaussrender' for the numbers of
            GaussRender's own script, its Table 8.

    Raises:
        ValueError: for an unknown label spec or protocol.
    """

    counts_type = VoxelCounts
    required = ('token', 'pred_occ', 'gt_occ')

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        prefix: str | None = None,
        protocol: str = 'occsplat',
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        check_protocol('BEVIoUMetric', protocol)
        self.released = protocol == 'gaussrender'

    def count(self, pred_occ: Tensor, gt_occ: Tensor) -> VoxelCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        if self.released:
            return count_released_columns(
                pred_occ, gt_occ, self.spec, self.grid
            )
        return count_columns(pred_occ, gt_occ, self.spec)

    def summary(self, counts: VoxelCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        unseen = UNSEEN if self.released else None
        return counts.summary(self.spec, lead='bev_', unseen=unseen)

    def table(
        self, total: VoxelCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        policy = 'none, every column of which something is known'
        what = 'columns'
        if self.released:
            policy = "none, every pixel of GaussRender's view from above"
            what = 'pixels'
        return (
            f'bev_mIoU {metrics["bev_mIoU"]:.4f}, '
            f'bev_IoU {metrics["bev_IoU"]:.4f} on {self.spec.name}; '
            f'mask policy: {policy}; '
            f'{total.frames} frames, {total.voxels} {what}',
            iou_rows(metrics, 'bev_mIoU', self.spec),
        )


def count_columns(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    spec: LabelSpec,
) -> VoxelCounts:
    """Count agreement of two label volumes seen from above.

    Args:
        pred_occ (Tensor): predicted class ids.
        gt_occ (Tensor): true class ids.
        spec (LabelSpec): meaning of the ids.

    Returns:
        VoxelCounts: of the columns of this one frame.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    known = (gt_occ != spec.ignore).any(dim=-1).cpu()
    guess, truth = without_ignored(pred_occ, gt_occ, spec)
    return count_voxels(
        top_classes(guess, spec), top_classes(truth, spec), spec, mask=known
    )


def top_classes(occ: Tensor, spec: LabelSpec) -> Tensor:
    """Class of the highest occupied voxel of each column, or free.

    Args:
        occ (Tensor): class ids, (X, Y, Z).
        spec (LabelSpec): meaning of the ids.

    Returns:
        Tensor: class ids, (X, Y).
    """
    level = torch.arange(occ.shape[-1], device=occ.device)
    top = torch.where(occ != spec.free, level, 0).amax(dim=-1, keepdim=True)
    # without an occupied voxel that is the lowest one, which is free
    return occ.gather(-1, top).squeeze(-1)
