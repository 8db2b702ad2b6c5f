"""How much of each object is predicted, as a metric of mmengine.

Shape letters: X Y Z voxels.
"""

from __future__ import annotations

from typing import Any, Sequence

from mmdet3d.registry import METRICS
from numpy.typing import ArrayLike
from torch import Tensor

from .count_metric import CountMetric, report
from .instance_counts import InstanceCounts, count_instances


@METRICS.register_module()
class InstanceMetric(CountMetric):
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

    required = ('token', 'pred_occ', 'gt_occ')

    def add(
        self,
        token: str,
        pred_occ: Tensor | ArrayLike,
        gt_occ: Tensor | ArrayLike,
    ) -> None:
        """Count one key frame, unless its token was counted before.

        Args:
            token (str): names the frame.
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        if token in self.frames:
            return
        pred_occ, gt_occ = self.checked(
            token, pred_occ=pred_occ, gt_occ=gt_occ
        )
        self.frames[token] = count_instances(pred_occ, gt_occ, self.spec)

    def summary(self, counts: InstanceCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec)

    def compute_metrics(
        self, results: Sequence[InstanceCounts]
    ) -> dict[str, Any]:
        """Pool frames, log the table, and return the flat dictionary."""
        total = sum(results, InstanceCounts.zeros(self.spec.num_classes))
        metrics = self.summary(total)
        keys = ('Completeness', 'Found@0.5')
        rows = [['class', 'instances', *keys]]
        for i in self.spec.movable:
            name = self.spec.classes[i]
            own = [metrics[f'{key}_{name}'] for key in keys]
            rows.append([name, int(total.instances[i]), *own])
        number = int(total.instances.sum())
        rows.append(['mean', number, *(metrics[key] for key in keys)])
        report(
            f'Completeness {metrics["Completeness"]:.4f}, Found@0.5 '
            f'{metrics["Found@0.5"]:.4f} on {self.spec.name}; '
            'mask policy: none, every known voxel of a movable class; '
            f'{total.frames} frames, {number} instances',
            rows,
        )
        return metrics
