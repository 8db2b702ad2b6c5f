"""What is predicted where nothing is, along rays, as a metric of mmengine.

Shape letters: T frames, N cameras, X Y Z voxels.
"""

from __future__ import annotations

from typing import Mapping

from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.structures import CameraRig, LabelSpec, VoxelGrid
from occsplat.structures.checks import Count, checked

from .count_metric import CountMetric, Rows
from .run_counts import RunCounts, count_ray_runs
from .sensor_cameras import images_of, sensor_cameras, single_rays


@METRICS.register_module()
class DuplicateMetric(CountMetric[RunCounts]):
    """False metres, occupied runs and ghosts along camera rays.

    GSRender (2024) blames 2D supervision for surfaces that appear twice
    along a ray, and shows pictures of them. Here they are measured: a ray
    runs through every ``stride``-th pixel of each camera and through the
    whole grid, in prediction and truth. The scores are the metres of a
    ray that are wrongly occupied behind its true first surface,
    ``FalseBehind``, and before it, ``FalseBefore``; a copy of a wall, a
    thick wall and fog all cost what they fill. Numbers of runs and ghosts
    and the thickness of first surfaces come as details: these can't tell a
    clean scene from one in which everything has run together.
    ``docs/metrics.md`` has the definitions.

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

    counts_type = RunCounts
    required = ('token', 'pred_occ', 'gt_occ', 'rig')

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        stride: Count = 4,
        image_size: tuple[Count, Count] | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        self.stride = stride
        self.image_size = image_size

    def count(
        self, pred_occ: Tensor, gt_occ: Tensor, rig: CameraRig
    ) -> RunCounts:
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
        rays = single_rays(cameras, self.stride)
        return count_ray_runs(pred_occ, gt_occ, *rays, self.spec, self.grid)

    def summary(self, counts: RunCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary()

    def table(
        self, total: RunCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        rows: Rows = [['along a ray', 'prediction', 'truth']]
        for name, key in (
            ('false behind the true first surface, m', 'FalseBehind'),
            ('false before it, m', 'FalseBefore'),
        ):
            rows.append([name, metrics[key], ''])
        rows.append(['that hits something:', '', ''])
        for name, key in (
            ('occupied runs', 'Runs'),
            ('thickness of the first, m', 'Thickness'),
        ):
            rows.append([name, metrics[key], metrics[f'{key}_gt']])
        rows.append(['rays with a ghost', metrics['GhostRate'], ''])
        return (
            f'FalseBehind {metrics["FalseBehind"]:.4f} m, FalseBefore '
            f'{metrics["FalseBefore"]:.4f} m a ray on {self.spec.name}; mask '
            f'policy: none, one ray every {self.stride} pixels of the '
            f'{images_of(self.image_size)} through the whole grid; '
            f'{total.frames} frames, {total.rays} rays',
            rows,
        )
