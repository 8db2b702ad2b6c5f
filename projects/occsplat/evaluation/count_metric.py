"""What the metrics share: a few counts per key frame, each frame once."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from typing import Any, Mapping, Sequence

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from terminaltables import AsciiTable

from occsplat.structures import LabelSpec, VoxelGrid, as_grid
from occsplat.structures.checks import checked

from .fields import check_fields


class CountMetric(BaseMetric):
    """A metric that keeps counts per key frame and never a volume.

    Samplers pad the last batch, within a rank and across ranks, by serving
    some frames again; ``collect_results`` of mmengine guesses from the
    order of the results which ones those were. Here counts are filed under
    the frame's token, so a frame counts once however often and wherever it
    was predicted (the first time on the lowest rank is kept), and the
    result does not depend on the number of ranks, not in its last bit.

    Subclasses name the ``required`` and ``optional`` fields of a sample
    that their ``add(token, ...)`` takes, and define ``summary`` and
    ``compute_metrics``.

    Args:
        label_spec (str | LabelSpec, optional): meaning of the class ids;
            None for a metric that knows of no classes.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        prefix (str, optional): put before every key, with a '/', to tell
            two metrics of the same type apart.

    Raises:
        ValueError: for an unknown label spec.
    """

    # Not None: the keys are the names of published metrics, and mmengine
    # warns about a missing prefix.
    default_prefix = ''
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec | None,
        grid: VoxelGrid | dict | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        self.spec = self.grid = None
        if label_spec is not None:
            self.spec = LabelSpec.named(label_spec)
            self.grid = as_grid(self.spec.grid if grid is None else grid)
        self.frames: dict[str, Any] = {}

    @property
    def lead(self) -> str:
        """What its keys begin with."""
        return f'{self.prefix}/' if self.prefix else ''

    @abstractmethod
    def add(self, token: str, **fields: Any) -> None:
        """Count one key frame, unless its token was counted before."""

    def shared(self, token: str, **fields: Any) -> dict[str, Any]:
        """Further arguments of ``add`` that no prediction changes.

        Whoever counts several predictions of a frame asks for them once.

        Args:
            token (str): names the frame.
            **fields: those of the frame, without the prediction's.
        """
        return {}

    def checked(self, token: str, **fields: Any) -> list[Any]:
        """The fields of a frame as tensors, see ``check_fields``.

        Raises:
            DataError: when one of them makes no sense; names it and the
                frame.
        """
        return check_fields(
            f'sample {token!r}', self.spec, self.grid, **fields
        )

    @abstractmethod
    def summary(self, counts: Any) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""

    def process(
        self,
        data_batch: Any,
        data_samples: Sequence[dict | BaseDataElement],
    ) -> None:
        """Count the samples of one batch.

        Args:
            data_batch: unused, labels travel in the samples.
            data_samples: OccDataSample, or the dicts that mmengine's
                Evaluator makes of them (data and meta fields together).

        Raises:
            ValueError: when a required field is absent.
        """
        for sample in data_samples:
            if isinstance(sample, BaseDataElement):
                sample = sample.to_dict()
            self.add(**self.fields_of(sample))

    def fields_of(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """What ``add`` takes of a sample.

        Raises:
            ValueError: when a required field is absent.
        """
        missing = [k for k in self.required if sample.get(k) is None]
        if missing:
            raise ValueError(
                f'{type(self).__name__} needs {self.required} in every '
                f'sample, missing {missing} in sample {sample.get("token")!r}'
            )
        return {k: sample.get(k) for k in (*self.required, *self.optional)}

    def gathered(self) -> dict[str, Any]:
        """Counts by token of the frames that any rank has counted so far."""
        frames: dict[str, Any] = {}
        # reversed: of two ranks with the same frame the lower one wins
        for part in reversed(all_gather_object(self.frames)):
            frames.update(part)
        return frames

    def score(self) -> dict[str, float]:
        """Metrics of the frames counted so far in this process."""
        return self.compute_metrics(
            [self.frames[token] for token in sorted(self.frames)]
        )

    def frame_scores(self) -> dict[str, dict[str, float]]:
        """Metrics of each frame by itself, without those of classes.

        Returns:
            dict: by token, of the frames counted so far in this process;
            keys as ``evaluate`` gives them. Their mean over frames is not
            the metric of the set, for which counts are pooled.
        """
        classes = tuple(f'_{name}' for name in self.spec.classes)
        return {
            token: {
                f'{self.lead}{key}': value
                for key, value in self.summary(counts).items()
                if not key.endswith(classes)
            }
            for token, counts in sorted(self.frames.items())
        }

    def evaluate(self, size: int) -> dict[str, float]:
        """Pool the counts of all ranks, report, and start afresh.

        Args:
            size (int): key frames in the data set; a warning tells when
                another number was seen.

        Returns:
            dict: metrics by name, the same on every rank.

        Raises:
            ValueError: when no rank has seen a frame.
        """
        self.frames = self.gathered()
        if not self.frames:
            raise ValueError(
                f'{type(self).__name__}.evaluate: no frame was processed'
            )
        if len(self.frames) != size:
            print_log(
                f'{type(self).__name__} saw {len(self.frames)} different '
                f'key frames, the data set has {size}',
                logger='current',
                level=logging.WARNING,
            )
        metrics = self.score()
        self.frames = {}
        return {f'{self.lead}{key}': value for key, value in metrics.items()}


def mean_of_defined(values: np.ndarray) -> float:
    """Mean of the values that are not nan; nan if there is none."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, nan where ``whole`` is zero."""
    part, whole = np.broadcast_arrays(part, whole)
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole != 0)
    return out


def iou_rows(
    metrics: dict[str, float], key: str, spec: LabelSpec
) -> list[list[Any]]:
    """Rows of a table: IoU by class, and the mean.

    Args:
        metrics (dict): holds ``key`` and ``<key>_<class>``.
        key (str): name of the mean.
        spec (LabelSpec): names of the classes.
    """
    names = [spec.classes[i] for i in spec.occupied]
    return [
        ['class', 'IoU'],
        *([name, metrics[f'{key}_{name}']] for name in names),
        ['mean', metrics[key]],
    ]


def report(title: str, rows: Sequence[Sequence[Any]]) -> None:
    """Log a table; floats with four decimals, '-' for an undefined one."""

    def cell(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return '-' if math.isnan(value) else f'{value:.4f}'

    table = AsciiTable([[cell(value) for value in row] for row in rows])
    for column in range(1, len(rows[0])):
        table.justify_columns[column] = 'right'
    table.inner_footing_row_border = True
    print_log(f'{title}\n{table.table}', logger='current')
