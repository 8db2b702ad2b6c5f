"""What the metrics share: a few counts per key frame, each frame once."""

from __future__ import annotations

import inspect
import logging
import math
from abc import abstractmethod
from typing import Any, Generic, Iterable, Mapping, Sequence

from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from terminaltables import AsciiTable

from occsplat.structures import LabelSpec, VoxelGrid, as_grid
from occsplat.structures.checks import checked

from .counts import C
from .fields import check_fields

#: the rows of a table that is logged, the head first
Rows = list[list[str | int | float]]


class CountMetric(BaseMetric, Generic[C]):
    """A metric that keeps counts per key frame and never a volume.

    Samplers pad the last batch, within a rank and across ranks, by serving
    some frames again; ``collect_results`` of mmengine guesses from the
    order of the results which ones those were. Here counts are filed under
    the frame's token, so a frame counts once however often and wherever it
    was predicted (the first time on the lowest rank is kept), and the
    result does not depend on the number of ranks, not in its last bit.

    Subclasses name the kind of counts they keep, ``counts_type``, and the
    ``required`` and ``optional`` fields of a sample that ``count`` takes.
    They define ``count`` of a frame, and ``summary`` and ``table`` of any
    number of frames.

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
    counts_type: type[C]
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
        self._spec: LabelSpec | None = None
        self._grid: VoxelGrid | None = None
        if label_spec is not None:
            self._spec = LabelSpec.named(label_spec)
            self._grid = as_grid(self._spec.grid if grid is None else grid)
        self.frames: dict[str, C] = {}

    @property
    def spec(self) -> LabelSpec:
        """Meaning of the class ids.

        Raises:
            ValueError: for a metric that knows of no classes.
        """
        if self._spec is None:
            raise ValueError(
                f'{type(self).__name__} knows of no classes: expected a '
                'metric with a label spec'
            )
        return self._spec

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels of truth and prediction are.

        Raises:
            ValueError: for a metric that knows of no voxels.
        """
        if self._grid is None:
            raise ValueError(
                f'{type(self).__name__} knows of no voxels: expected a '
                'metric with a label spec'
            )
        return self._grid

    @property
    def lead(self) -> str:
        """What its keys begin with."""
        return f'{self.prefix}/' if self.prefix else ''

    def add(self, token: str, *fields: Any, **named: Any) -> None:
        """Count one key frame, unless its token was counted before.

        Args:
            token (str): names the frame.
            *fields, **named: what ``count`` takes, as tensors or arrays.

        Raises:
            DataError: when one of them makes no sense; names it and the
                frame.
            ValueError: as ``count``, and when one is missing.
        """
        if token in self.frames:
            return
        given = inspect.signature(self.count).bind(*fields, **named)
        self.frames[token] = self.count(
            **self.checked(token, **given.arguments)
        )

    @abstractmethod
    def count(self, *fields: Any, **named: Any) -> C:
        """Counts of one key frame, of fields that have been checked."""

    def shared(self, token: str, *fields: Any, **named: Any) -> dict[str, Any]:
        """Further arguments of ``add`` that no prediction changes.

        Whoever counts several predictions of a frame asks for them once.

        Args:
            token (str): names the frame.
            *fields, **named: those of the frame.
        """
        return {}

    def checked(self, token: str, **fields: Any) -> dict[str, Any]:
        """The fields of a frame as tensors, see ``check_fields``.

        Raises:
            DataError: when one of them makes no sense; names it and the
                frame.
        """
        values = check_fields(
            f'sample {token!r}', self._spec, self._grid, **fields
        )
        return dict(zip(fields, values))

    @abstractmethod
    def summary(self, counts: C) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""

    @abstractmethod
    def table(
        self, total: C, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result.

        Args:
            total: counts of all frames.
            metrics: their ``summary``.

        Returns:
            tuple: a line that names the mask policy and how much was
            counted, and the rows of a table.
        """

    def pooled(self, frames: Iterable[C]) -> C:
        """Counts of all of the frames together."""
        num_classes = 0 if self._spec is None else self._spec.num_classes
        return sum(frames, self.counts_type.zeros(num_classes))

    def compute_metrics(self, results: Sequence[C]) -> dict[str, float]:
        """Pool frames, log the table, and return the flat dictionary."""
        total = self.pooled(results)
        metrics = self.summary(total)
        report(*self.table(total, metrics))
        return metrics

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

    def gathered(self) -> dict[str, C]:
        """Counts by token of the frames that any rank has counted so far."""
        frames: dict[str, C] = {}
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
        names = () if self._spec is None else self._spec.classes
        classes = tuple(f'_{name}' for name in names)
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


def iou_rows(metrics: Mapping[str, float], key: str, spec: LabelSpec) -> Rows:
    """Rows of a table: IoU by class, and the mean.

    Args:
        metrics (mapping): holds ``key`` and ``<key>_<class>``.
        key (str): name of the mean.
        spec (LabelSpec): names of the classes.
    """
    rows: Rows = [['class', 'IoU']]
    for name in (spec.classes[i] for i in spec.occupied):
        rows.append([name, metrics[f'{key}_{name}']])
    rows.append(['mean', metrics[key]])
    return rows


def report(title: str, rows: Rows) -> None:
    """Log a table; floats with four decimals, '-' for an undefined one."""

    def cell(value: str | int | float) -> str:
        if not isinstance(value, float):
            return str(value)
        return '-' if math.isnan(value) else f'{value:.4f}'

    table = AsciiTable([[cell(value) for value in row] for row in rows])
    for column in range(1, len(rows[0])):
        table.justify_columns[column] = 'right'
    table.inner_footing_row_border = True
    print_log(f'{title}\n{table.table}', logger='current')
