"""RayIoU, mAVE and OccScore, as a metric of mmengine.

Shape letters: T origins, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping

from mmdet3d.registry import METRICS
from numpy.typing import ArrayLike
from torch import Tensor

from occsplat.structures import DataError, LabelSpec, VoxelGrid
from occsplat.structures.checks import checked

from .count_metric import CountMetric, Rows
from .ray_counts import (
    THRESHOLDS,
    FrameRays,
    RayCounts,
    TrueRays,
    compare_rays,
    count_against,
    lidar_rays,
    true_rays,
)


@METRICS.register_module()
class RayIoUMetric(CountMetric[RayCounts]):
    """RayIoU (SparseOcc, ECCV 2024) with both flow errors in use.

    Scores surfaces as a LiDAR would see them from up to eight places along
    the drive. ``docs/metrics.md`` has the formulas.

    Works without a model, too::

        metric = RayIoUMetric()
        metric.add('frame', pred_occ, gt_occ, origins, pred_flow, gt_flow)
        metric.score()['RayIoU']

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given, e.g. for
            labels pooled to larger voxels.
        flow (bool, optional): whether to score flow; by default exactly
            when the label set has flow. Set it to False for a network
            without a flow head.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec, or when flow is asked of a
            label set without flow.
    """

    counts_type = RayCounts
    required = ('token', 'pred_occ', 'gt_occ', 'ray_origins')
    optional = ('pred_flow', 'gt_flow')

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        flow: bool | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        if flow and not self.spec.has_flow:
            raise ValueError(
                f'flow=True, but label spec {self.spec.name} has no flow'
            )
        self.flow = self.spec.has_flow if flow is None else flow
        self.directions = lidar_rays()

    def checked(
        self, token: str, *, truth: TrueRays | None = None, **fields: Any
    ) -> dict[str, Any]:
        """As in CountMetric, without flows if none is scored.

        Raises:
            ValueError: when a flow is scored and missing.
        """
        names = ('pred_flow', 'gt_flow')
        missing = [name for name in names if fields.get(name) is None]
        if self.flow and missing:
            raise ValueError(
                f'sample {token!r} has no {" and no ".join(missing)}, which '
                'mAVE needs; RayIoUMetric(flow=False) scores geometry and '
                'classes alone'
            )
        if not self.flow:
            fields.update(pred_flow=None, gt_flow=None)
        return dict(super().checked(token, **fields), truth=truth)

    def count(
        self,
        pred_occ: Tensor,
        gt_occ: Tensor,
        ray_origins: Tensor,
        pred_flow: Tensor | None = None,
        gt_flow: Tensor | None = None,
        truth: TrueRays | None = None,
    ) -> RayCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).
            ray_origins: metres in the reference frame, (T, 3).
            pred_flow: m/s, (X, Y, Z, 2); needed if flow is scored.
            gt_flow: m/s, (X, Y, Z, 2); needed if flow is scored.
            truth: what ``shared`` gave for the same frame, to save time.

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        if truth is None:
            truth = self._true_rays(gt_occ, ray_origins, gt_flow)
        return count_against(truth, pred_occ, self.spec, self.grid, pred_flow)

    def shared(
        self,
        token: str,
        gt_occ: Tensor | ArrayLike,
        ray_origins: Tensor | ArrayLike,
        gt_flow: Tensor | ArrayLike | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """The rays cast through the truth, see CountMetric."""
        fields = super().checked(
            token,
            gt_occ=gt_occ,
            ray_origins=ray_origins,
            gt_flow=gt_flow if self.flow else None,
        )
        return dict(truth=self._true_rays(**fields))

    def _true_rays(
        self, gt_occ: Tensor, ray_origins: Tensor, gt_flow: Tensor | None
    ) -> TrueRays:
        return true_rays(
            gt_occ,
            ray_origins,
            self.directions,
            self.spec,
            self.grid,
            gt_flow,
        )

    def add_rays(self, token: str, pred: FrameRays, truth: FrameRays) -> None:
        """Count one key frame by its rays, as ray files hold them.

        Args:
            token (str): names the frame.
            pred (FrameRays): of the prediction.
            truth (FrameRays): of the labels, ray by ray.

        Raises:
            ValueError: when the numbers of rays differ, an id is not in
                the label spec, a number is not finite (but a true flow), or
                a flow is missing.
        """
        if token in self.frames:
            return
        if self.flow and (pred.flow is None or truth.flow is None):
            raise ValueError(
                f'the rays of {token!r} have no flow in '
                f'{"truth" if pred.flow is not None else "prediction"}, which '
                'mAVE needs; RayIoUMetric(flow=False) scores geometry and '
                'classes alone'
            )
        if not self.flow:
            pred, truth = replace(pred, flow=None), replace(truth, flow=None)
        try:
            self.frames[token] = compare_rays(pred, truth, self.spec)
        except ValueError as error:
            raise DataError(f'sample {token!r}, {error}') from error

    def frame_scores(self) -> dict[str, dict[str, float]]:
        """As in CountMetric, with the number of rays that count."""
        scores = super().frame_scores()
        for token, counts in self.frames.items():
            scores[token] = dict(rays=counts.rays, **scores[token])
        return scores

    def summary(self, counts: RayCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec, self.flow)

    def table(
        self, total: RayCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        names = [f'RayIoU@{metres}' for metres in THRESHOLDS]
        names += ['mAVE', 'mAVE_TP'] if self.flow else []
        heads = [name.replace('mAVE', 'AVE') for name in names]
        rows: Rows = [['class', *heads]]
        for i in self.spec.occupied:
            label = self.spec.classes[i]
            rows.append(
                [label, *(metrics.get(f'{n}_{label}', '') for n in names)]
            )
        rows.append(['mean', *(metrics[name] for name in names)])
        scores = {
            k: metrics[k] for k in ('RayIoU', 'OccScore') if k in metrics
        }
        return (
            ', '.join(f'{k} {v:.4f}' for k, v in scores.items())
            + f' on {self.spec.name}; mask policy: none, every ray that hits '
            f'the truth counts; {total.frames} frames, {total.rays} rays',
            rows,
        )
