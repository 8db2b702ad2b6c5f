"""How much of each object is predicted, as a metric of mmengine.

Shape letters: X Y Z voxels.
"""

from __future__ import annotations

from typing import Mapping

from mmdet3d.registry import METRICS
from torch import Tensor

from .count_metric import CountMetric, Rows
from .instance_counts import InstanceCounts, count_instances


@METRICS.register_module()
class InstanceMetric(CountMetric[InstanceCounts]):
    """Completeness of the instances of movable classes.

    An instance is a connected component of the true voxels of a class,
    and its completeness the share of them that is predicted with this
    class. Every instance has the same weight, where voxel IoU is that of
    the large ones.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec.
    """

    counts_type = InstanceCounts
    required = ('token', 'pred_occ', 'gt_occ')

    def count(self, pred_occ: Tensor, gt_occ: Tensor) -> InstanceCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        return count_instances(pred_occ, gt_occ, self.spec)

    def summary(self, counts: InstanceCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec)

    def table(
        self, total: InstanceCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        keys = ('Completeness', 'Found@0.5')
        rows: Rows = [['class', 'instances', *keys]]
        for i in self.spec.movable:
            name = self.spec.classes[i]
            own = [metrics[f'{key}_{name}'] for key in keys]
            rows.append([name, int(total.instances[i]), *own])
        number = int(total.instances.sum())
        rows.append(['mean', number, *(metrics[key] for key in keys)])
        return (
            f'Completeness {metrics["Completeness"]:.4f}, Found@0.5 '
            f'{metrics["Found@0.5"]:.4f} on {self.spec.name}; '
            'mask policy: none, every known voxel of a movable class; '
            f'{total.frames} frames, {number} instances',
            rows,
        )
