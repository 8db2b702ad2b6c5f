"""Boxes of a test run in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import numpy as np
from mmdet3d.registry import HOOKS
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from occsplat.evaluation import (
    check_fields,
    detection_results,
    write_detections,
)
from occsplat.ops import predicted_boxes
from occsplat.structures import LabelSpec, OccDataSample, VoxelGrid, as_grid
from occsplat.structures.checks import checked


@HOOKS.register_module()
class SaveBoxesHook(Hook):
    """Write the objects of every frame in nuScenes' detection format.

    The main process writes at the end what all have found; of a frame
    that several of them have predicted, the lowest rank's first is kept,
    as in CountMetric.

    Args:
        out_file (str): the file, JSON.
        label_spec (str | LabelSpec): the label set.
        grid (VoxelGrid | dict, optional): of the prediction; the label
            spec's own unless given.
    """

    @checked
    def __init__(
        self,
        out_file: str | Path,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
    ) -> None:
        self.path = Path(out_file)
        self.spec = LabelSpec.named(label_spec)
        self.grid = as_grid(self.spec.grid if grid is None else grid)
        self.found: dict[str, tuple[list[dict[str, Any]], int]] = {}

    def before_test(self, runner: Runner) -> None:
        """Start afresh."""
        self.found = {}

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[OccDataSample] | None = None,
    ) -> None:
        """Find the objects of a batch.

        Raises:
            DataError: when a prediction makes no sense, see
                ``check_fields``.
        """
        for sample in outputs or ():
            if sample.token in self.found:
                continue
            check_fields(
                f'sample {sample.token!r}',
                self.spec,
                self.grid,
                pred_occ=sample.pred_occ,
                pred_flow=sample.get('pred_flow'),
                pred_offsets=sample.get('pred_offsets'),
            )
            self.found[sample.token] = detection_results(
                predicted_boxes(sample, self.grid, self.spec),
                sample.token,
                np.asarray(sample.ref2global),
                self.spec,
            )

    def after_test(self, runner: Runner) -> None:
        """Gather, and write the file."""
        frames: dict[str, tuple[list[dict[str, Any]], int]] = {}
        # reversed: of two ranks with the same frame the lower one wins
        for part in reversed(all_gather_object(self.found)):
            frames.update(part)
        if not is_main_process():
            return
        results = {token: rows for token, (rows, _) in frames.items()}
        write_detections(self.path, results)
        number = sum(map(len, results.values()))
        skipped = sum(left_out for _, left_out in frames.values())
        runner.logger.info(
            f'{number} boxes are in {self.path}; {skipped} of classes that '
            'nuScenes does not detect were left out'
        )
