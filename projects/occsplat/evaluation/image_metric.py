"""What cameras would see of the prediction, as a metric of mmengine.

Shape letters: T frames, N cameras, X Y Z voxels.
"""

from __future__ import annotations

from typing import Mapping

from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    VoxelGrid,
)
from occsplat.structures.checks import Count, Positive, checked

from .count_metric import CountMetric, Rows
from .gaussrender_protocol import (
    SPARE,
    UNSEEN,
    check_protocol,
    check_sensor_images,
    count_released_pixels,
)
from .image_counts import EMPTY_DEPTHS, ImageCounts, count_pixels
from .sensor_cameras import images_of, sensor_cameras


@METRICS.register_module()
class ImageMetric(CountMetric[ImageCounts]):
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
        resize (float, optional): size of the rendered images, as a
            fraction of that of the cameras' images; a quarter unless
            given.
        image_size (sequence, optional): see
            :func:`~occsplat.evaluation.sensor_cameras`; the images that
            the network gets unless given.
        empty_depth (str, optional): depth of a pixel in which the truth
            sees something and the prediction nothing: 'exit' (default),
            where its ray leaves the grid; or 'zero'.
        prefix (str, optional): as in CountMetric.
        protocol (str): 'occsplat', or 'gaussrender' for the numbers of
            GaussRender's own script: see ``count_released_pixels``. Of
            the images as the sensors took them, at their full size, with
            Gaussians of 0.27 m on Occ3D and empty_depth='zero'.

    Raises:
        ValueError: for an unknown label spec, protocol or empty depth, an
            empty depth that the protocol does not know, or a scale or
            resize that is not positive.
    """

    counts_type = ImageCounts
    required = ('token', 'pred_occ', 'gt_occ', 'rig')

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        scale: Positive | None = None,
        resize: Positive | None = None,
        image_size: tuple[Count, Count] | None = None,
        empty_depth: str | None = None,
        prefix: str | None = None,
        protocol: str = 'occsplat',
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        check_protocol('ImageMetric', protocol)
        self.released = protocol == 'gaussrender'
        if resize is None:
            resize = 1.0 if self.released else 0.25
        if empty_depth is None:
            empty_depth = 'zero' if self.released else 'exit'
        if empty_depth not in EMPTY_DEPTHS:
            raise ValueError(
                f'ImageMetric: empty_depth must be one of {EMPTY_DEPTHS}, '
                f'got {empty_depth!r}'
            )
        if self.released and empty_depth != 'zero':
            raise ValueError(
                "ImageMetric: protocol='gaussrender' accumulates depth from "
                f"0, got empty_depth={empty_depth!r}: leave it out, or 'zero'"
            )
        self.scale = scale
        self.resize = resize
        self.image_size = image_size
        self.empty_depth = empty_depth

    def count(
        self, pred_occ: Tensor, gt_occ: Tensor, rig: CameraRig
    ) -> ImageCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).
            rig (CameraRig): (T, N), the current frame first, or (N,).

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        cameras = sensor_cameras(rig, self.image_size)
        if self.released:
            check_sensor_images(cameras, self.image_size)
        cameras = cameras.scaled(self.resize)
        scene = pred_occ, gt_occ, cameras, self.spec, self.grid, self.scale
        if self.released:
            return count_released_pixels(*scene)
        return count_pixels(*scene, self.empty_depth)

    def summary(self, counts: ImageCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        if self.released:
            return counts.summary(self.spec, unseen=UNSEEN, spare=SPARE)
        return counts.summary(self.spec)

    def table(
        self, total: ImageCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        keys = ('image_mIoU', 'image_depth_L1')
        rows: Rows = [['class', 'IoU', 'depth L1, m']]
        for name in (self.spec.classes[i] for i in self.spec.occupied):
            rows.append([name, *(metrics[f'{key}_{name}'] for key in keys)])
        rows.append(['mean', *(metrics[key] for key in keys)])
        pixels = total.classes
        return (
            f'image_mIoU {metrics["image_mIoU"]:.4f}, '
            f'image_IoU {metrics["image_IoU"]:.4f}, '
            f'image_depth_L1 {metrics["image_depth_L1"]:.4f} m '
            f'({self._words()}) on {self.spec.name}; '
            f'mask policy: none, every pixel of the '
            f'{images_of(self.image_size)} at {self.resize:g} of their size; '
            f'{pixels.frames} frames, {pixels.voxels} pixels',
            rows,
        )

    def _words(self) -> str:
        if self.released:
            return "GaussRender's protocol"
        return f'empty depth: {self.empty_depth}'
