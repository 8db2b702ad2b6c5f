"""IoU of the voxels that the cameras see, as a metric of mmengine.

Shape letters: T frames, N cameras, R rays, X Y Z voxels.
"""

from __future__ import annotations

from typing import Mapping

from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.ops import visible_voxels
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    VoxelGrid,
)
from occsplat.structures.checks import Count, checked

from .count_metric import CountMetric, Rows, iou_rows
from .sensor_cameras import images_of, sensor_cameras, single_rays
from .voxel_counts import VoxelCounts, count_voxels


@METRICS.register_module()
class VisibleIoUMetric(CountMetric[VoxelCounts]):
    """mIoU and IoU over the voxels that camera rays pass in the truth.

    A ray runs through every ``stride``-th pixel of each camera. The voxels
    that it passes up to and including the first one that is occupied in
    the truth are visible: free space in front of a surface and the surface,
    and nothing behind it. The prediction has no say in what is visible.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        stride (int): pixels from one ray to the next, in columns and rows.
        image_size (sequence, optional): see
            :func:`~occsplat.evaluation.sensor_cameras`; the images that
            the network gets unless given.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec, or a stride below one.
    """

    counts_type = VoxelCounts
    required = ('token', 'pred_occ', 'gt_occ', 'rig')

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        stride: Count = 2,
        image_size: tuple[Count, Count] | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        self.stride = stride
        self.image_size = image_size

    def count(
        self, pred_occ: Tensor, gt_occ: Tensor, rig: CameraRig
    ) -> VoxelCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).
            rig (CameraRig): (T, N), the current frame first, or (N,).

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        occupied = self.spec.is_occupied(gt_occ.cpu())
        cameras = sensor_cameras(rig, self.image_size)
        visible = seen_by_cameras(occupied, cameras, self.grid, self.stride)
        return count_voxels(pred_occ, gt_occ, self.spec, visible)

    def summary(self, counts: VoxelCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec, lead='visible_')

    def table(
        self, total: VoxelCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        return (
            f'visible_mIoU {metrics["visible_mIoU"]:.4f}, '
            f'visible_IoU {metrics["visible_IoU"]:.4f} on {self.spec.name}; '
            'mask policy: rays of the cameras up to the first occupied voxel '
            f'of the truth, one every {self.stride} pixels of the '
            f'{images_of(self.image_size)}; '
            f'{total.frames} frames, {total.voxels} voxels',
            iou_rows(metrics, 'visible_mIoU', self.spec),
        )


def seen_by_cameras(
    occupied: Tensor,  # (X, Y, Z)
    rig: CameraRig,  # (N,)
    grid: VoxelGrid,
    stride: int,
) -> Tensor:
    """The voxels that rays of the cameras pass.

    Args:
        occupied (Tensor): bool, where rays end.
        rig (CameraRig): the cameras.
        grid (VoxelGrid): where the voxels are.
        stride (int): pixels from one ray to the next.

    Returns:
        Tensor: bool (X, Y, Z), see
        :func:`~occsplat.ops.visible_voxels`.

    Raises:
        ValueError: when shapes disagree.
    """
    return visible_voxels(occupied, *single_rays(rig, stride), grid)
