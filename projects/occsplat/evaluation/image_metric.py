"""What cameras would see of the prediction, as a metric of mmengine.

Shape letters: T frames, N cameras, X Y Z voxels.
"""

from __future__ import annotations

from typing import Any, Sequence

import torch
from mmdet3d.registry import METRICS
from numpy.typing import ArrayLike
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    VoxelGrid,
    same_shape,
)

from .count_metric import CountMetric, report
from .image_counts import EMPTY_DEPTHS, ImageCounts, count_pixels
from .sensor_cameras import images_of, sensor_cameras


@METRICS.register_module()
class ImageMetric(CountMetric):
    """Image IoU, mIoU and depth error (GaussRender, 2025).

    The label volumes of prediction and truth are rendered into the cameras
    of the sample, every occupied voxel an opaque Gaussian, and the images
    are compared. ``docs/metrics.md`` has the definitions.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        scale (float, optional): standard deviation of a Gaussian in
            metres; half a voxel along each axis unless given.
        resize (float): size of the rendered images, as a fraction of that
            of the cameras' images.
        image_size (sequence, optional): see
            :func:`~occsplat.evaluation.sensor_cameras`; the images that
            the network gets unless given.
        empty_depth (str): depth of a pixel in which the truth sees
            something and the prediction nothing: 'exit', where its ray
            leaves the grid; or 'zero', as in GaussRender's tables.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec or empty depth, or a scale or
            resize that is not positive.
    """

    required = ('token', 'pred_occ', 'gt_occ', 'rig')

    def __init__(
        self,
        label_spec: str | LabelSpec = 'openocc',
        grid: VoxelGrid | dict | None = None,
        scale: float | None = None,
        resize: float = 0.25,
        image_size: Sequence[int] | None = None,
        empty_depth: str = 'exit',
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        for name, value in dict(scale=scale, resize=resize).items():
            if value is not None and value <= 0:
                raise ValueError(
                    f'ImageMetric: {name} must be positive, got {value}'
                )
        if empty_depth not in EMPTY_DEPTHS:
            raise ValueError(
                f'ImageMetric: empty_depth must be one of {EMPTY_DEPTHS}, '
                f'got {empty_depth!r}'
            )
        self.scale = scale
        self.resize = resize
        self.image_size = image_size
        self.empty_depth = empty_depth

    def add(
        self,
        token: str,
        pred_occ: Tensor | ArrayLike,
        gt_occ: Tensor | ArrayLike,
        rig: CameraRig,
    ) -> None:
        """Count one key frame, unless its token was counted before.

        Args:
            token (str): names the frame.
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).
            rig (CameraRig): (T, N), the current frame first, or (N,).

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        if token in self.frames:
            return
        gt_occ = torch.as_tensor(gt_occ)
        same_shape('gt_occ', gt_occ.shape, self.grid.shape)
        self.frames[token] = count_pixels(
            torch.as_tensor(pred_occ),
            gt_occ,
            sensor_cameras(rig, self.image_size).scaled(self.resize),
            self.spec,
            self.grid,
            self.scale,
            self.empty_depth,
        )

    def summary(self, counts: ImageCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec)

    def compute_metrics(
        self, results: Sequence[ImageCounts]
    ) -> dict[str, Any]:
        """Pool frames, log the table, and return the flat dictionary."""
        total = sum(results, ImageCounts.zeros(self.spec.num_classes))
        metrics = self.summary(total)
        keys = ('image_mIoU', 'image_depth_L1')
        rows = [['class', 'IoU', 'depth L1, m']]
        for name in (self.spec.classes[i] for i in self.spec.occupied):
            rows.append([name, *(metrics[f'{key}_{name}'] for key in keys)])
        rows.append(['mean', *(metrics[key] for key in keys)])
        pixels = total.classes
        report(
            f'image_mIoU {metrics["image_mIoU"]:.4f}, '
            f'image_IoU {metrics["image_IoU"]:.4f}, '
            f'image_depth_L1 {metrics["image_depth_L1"]:.4f} m '
            f'(empty depth: {self.empty_depth}) on {self.spec.name}; '
            f'mask policy: none, every pixel of the '
            f'{images_of(self.image_size)} at {self.resize:g} of their size; '
            f'{pixels.frames} frames, {pixels.voxels} pixels',
            rows,
        )
        return metrics
