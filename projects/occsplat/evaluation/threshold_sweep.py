"""Several opacity thresholds scored on one pass of the network.

A head that images have taught says how opaque a voxel is, and what reaches a
threshold is occupied. Scores at a threshold that was never looked for say
little: here every threshold is scored, and the best one speaks.
"""

from __future__ import annotations

import copy
import gzip
import math
import pickle
import tempfile
from typing import Any, Iterator, Mapping, Sequence

import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor

from occsplat.structures import DataError, VoxelOpacity

from .count_metric import CountMetric
from .fields import check_finite
from .occ_iou_metric import OccIoUMetric
from .ray_iou_metric import RayIoUMetric

#: metrics that are scored at every threshold, and what of them one may be
#: chosen by; all others are scored at the best one alone
SWEPT: dict[type[CountMetric], tuple[str, ...]] = {
    RayIoUMetric: ('RayIoU', 'RayIoU@1', 'RayIoU@2', 'RayIoU@4'),
    OccIoUMetric: ('mIoU', 'IoU'),
}
#: what is tried in a validation: a few, but dense where heads that render
#: have their best one
VALIDATION_THRESHOLDS = (0.03, 0.05, 0.07, 0.1, 0.2, 0.5)
#: what is tried in a calibration
CALIBRATION_THRESHOLDS = (
    *(0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1),
    *(0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
)
#: the key of the best threshold
TAU = 'tau'


class ThresholdSweep(Evaluator):
    """An evaluator that reports the metrics of the best threshold.

    Samples need ``pred_opacity``. The truth of a frame is prepared once, see
    ``CountMetric.shared``, and the metrics of ``SWEPT`` count what every
    threshold makes of the prediction. The others wait for the winner:
    until then a temporary file holds what they need of a frame. What is
    no metric of OccSplat scores ``pred_occ``.

    Args:
        metrics (sequence): built or to be built, see mmengine's Evaluator.
        thresholds (sequence): each between 0 and 1, in any order.
        by (str, optional): key that the best threshold has most of; the
            first of ``choices`` unless given.

    Raises:
        ValueError: when no metric can be swept, or none has the key.
    """

    def __init__(
        self,
        metrics: Sequence[BaseMetric | dict],
        thresholds: Sequence[float] = VALIDATION_THRESHOLDS,
        by: str | None = None,
    ) -> None:
        super().__init__(metrics)
        self.thresholds = sorted(set(thresholds))
        allowed = choices(self.metrics)
        if not allowed or (by is not None and by not in allowed):
            raise ValueError(
                f'a threshold is chosen by one of {", ".join(allowed)}, which '
                f'the metrics have, got {by!r}'
            )
        self.by = allowed[0] if by is None else by
        self.swept = [m for m in self.metrics if keys_of(m)]
        others = [m for m in self.metrics if not keys_of(m)]
        self.waiting = [m for m in others if isinstance(m, CountMetric)]
        self.strangers = [m for m in others if not isinstance(m, CountMetric)]
        self._start()

    def _start(self) -> None:
        """Forget all frames."""
        self.at: dict[float, list[CountMetric]] = {}
        for threshold in self.thresholds:
            self.at[threshold] = [copy.copy(metric) for metric in self.swept]
            for metric in self.at[threshold]:
                metric.frames = {}
        # None: a sample without a token, which the metrics refuse
        self._seen: set[str | None] = set()
        self._file = tempfile.TemporaryFile()
        self._store = gzip.GzipFile('', 'wb', 1, self._file)

    def process(
        self,
        data_samples: Sequence[BaseDataElement | dict],
        data_batch: Any | None = None,
    ) -> None:
        """Count the samples of a batch at every threshold.

        Args:
            data_samples: with ``token`` and ``pred_opacity``.
            data_batch: as in mmengine.

        Raises:
            ValueError: when a sample has no ``pred_opacity``, or one that
                is not finite.
        """
        samples = [
            s.to_dict() if isinstance(s, BaseDataElement) else s
            for s in data_samples
        ]
        for metric in self.strangers:
            metric.process(data_batch, samples)
        for sample in samples:
            if not isinstance(sample.get('pred_opacity'), VoxelOpacity):
                raise ValueError(
                    f'sample {sample.get("token")!r} has no pred_opacity, '
                    'which thresholds are tried on: the model has to give '
                    'what the opacity method of its occupancy head returns'
                )
            # nan reaches no threshold, and would pass for free space
            try:
                check_finite('pred_opacity', sample['pred_opacity'].opacity)
            except ValueError as error:
                raise DataError(
                    f'sample {sample.get("token")!r}, {error}'
                ) from error
            token = sample.get('token')
            if token not in self._seen:
                self._seen.add(token)
                self._count(sample)
                if self.waiting:
                    self._keep(sample)

    def _count(self, sample: dict[str, Any]) -> None:
        shared = None
        for threshold, metrics in self.at.items():
            decoded = _decoded(sample, sample['pred_opacity'], threshold)
            fields = [metric.fields_of(decoded) for metric in metrics]
            if shared is None:
                pairs = list(zip(metrics, fields))
                shared = [metric.shared(**own) for metric, own in pairs]
            for metric, own, more in zip(metrics, fields, shared):
                metric.add(**own, **more)

    def _keep(self, sample: dict[str, Any]) -> None:
        """Write what the waiting metrics need.

        Of an opacity, which thresholds it reaches: that is all they will
        ask of it, and takes far less room.
        """
        names = {k for m in self.waiting for k in (*m.required, *m.optional)}
        names -= {'pred_occ', 'pred_flow'}  # a threshold's
        fields = {k: _on_cpu(sample[k]) for k in names if k in sample}
        opacity = sample['pred_opacity'].to('cpu')
        steps = torch.tensor(self.thresholds)
        level = torch.bucketize(opacity.opacity, steps, right=True)
        # no threshold is reached: whatever is said of it does not matter
        never = level == 0
        opacity.opacity = level.to(torch.uint8)
        opacity.likeliest = opacity.likeliest.masked_fill(never, 0)
        if opacity.flow is not None:
            opacity.flow = opacity.flow.masked_fill(never[..., None], 0)
        pickle.dump((fields, opacity), self._store, pickle.HIGHEST_PROTOCOL)

    def _kept(self) -> Iterator[tuple[dict[str, Any], VoxelOpacity]]:
        """What was written; nobody else can reach the file."""
        self._store.close()
        self._file.seek(0)
        steps = torch.tensor([0.0, *self.thresholds])
        with gzip.GzipFile('', 'rb', fileobj=self._file) as store:
            for _ in range(len(self._seen)):
                fields, opacity = pickle.load(store)
                opacity.opacity = steps[opacity.opacity.long()]
                yield fields, opacity

    def scores(self) -> dict[float, dict[str, float]]:
        """Metrics by threshold of the frames counted so far on all ranks.

        Nothing is logged. Those of classes are left out.
        """
        out: dict[float, dict[str, float]] = {}
        for threshold, metrics in self.at.items():
            out[threshold] = {}
            for metric in metrics:
                out[threshold].update(pooled(metric, keys_of(metric)))
        return out

    def settle(self, threshold: float) -> None:
        """Let all metrics have counted what one of the thresholds makes.

        To be called once; ``process`` takes no more frames.
        """
        for metric, counted in zip(self.swept, self.at[threshold]):
            metric.frames = counted.frames
        if self.waiting:
            for fields, opacity in self._kept():
                sample = _decoded(fields, opacity, threshold)
                for metric in self.waiting:
                    metric.process(None, [sample])

    def evaluate(self, size: int) -> dict[str, float]:
        """The metrics of the best threshold, and ``tau``, which it is.

        Args:
            size (int): key frames in the data set.

        Returns:
            dict: as mmengine's Evaluator, the same on every rank.

        Raises:
            ValueError: when no frame was processed.
        """
        scores = self.scores()
        best = best_threshold(scores, self.by)
        if best is None:  # nothing is defined, wherever it is
            best = self.thresholds[0]
        row = ', '.join(f'{t:g}: {s[self.by]:.4f}' for t, s in scores.items())
        print_log(
            f'opacity threshold {best:g} has the best {self.by}, and what '
            f'follows is scored with it; of all: {row}',
            logger='current',
        )
        self.settle(best)
        metrics = super().evaluate(size)
        self._start()
        return {**metrics, TAU: best}


def choices(metrics: Sequence[BaseMetric]) -> list[str]:
    """The keys by which a threshold can be chosen, RayIoU before IoUs."""
    return [
        f'{metric.lead}{key}'
        for kind, keys in SWEPT.items()
        for metric in metrics
        if isinstance(metric, kind)
        for key in keys
    ]


def keys_of(metric: BaseMetric) -> tuple[str, ...]:
    """What of a metric a threshold can be chosen by, without its prefix."""
    for kind, keys in SWEPT.items():
        if isinstance(metric, kind):
            return keys
    return ()


def pooled(metric: CountMetric, keys: Sequence[str]) -> dict[str, float]:
    """Some metrics of all ranks' frames, nothing logged; nan without any."""
    frames = metric.gathered()
    if not frames:
        return {f'{metric.lead}{key}': math.nan for key in keys}
    counts = metric.pooled(frames[token] for token in sorted(frames))
    summary = metric.summary(counts)
    return {f'{metric.lead}{k}': summary[k] for k in keys if k in summary}


def best_threshold(
    scores: Mapping[float, Mapping[str, float]], by: str
) -> float | None:
    """The threshold with the highest score, the lowest of equals.

    Returns:
        float: None when it is not defined for any threshold.
    """
    defined = {t: s[by] for t, s in scores.items() if not math.isnan(s[by])}
    return max(sorted(defined), key=defined.__getitem__, default=None)


def _decoded(
    sample: Mapping[str, Any], opacity: VoxelOpacity, threshold: float
) -> dict[str, Any]:
    """The sample with what a threshold makes of its prediction."""
    occ, flow = opacity.at(threshold)
    return dict(sample, pred_occ=occ, pred_flow=flow)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor) or hasattr(value, 'ref2cam'):
        return value.to('cpu')
    return value
