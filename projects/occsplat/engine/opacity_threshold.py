"""The opacity from which a voxel counts as occupied, kept with the weights.

A head that renders trained says how opaque a voxel is, and occupied is what
reaches a threshold (GSRender, eq. 7). Which one is best depends on the
weights, so validation tries several, and ``tools/calibrate_threshold.py``
stores the one it finds in the checkpoint's ``meta``: it goes where the weights
go.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Mapping, Sequence

from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from torch import nn

from occsplat.evaluation import (
    VALIDATION_THRESHOLDS,
    ThresholdSweep,
    choices,
)

from .errors import CheckpointError, ConfigError

#: of a checkpoint's meta: the threshold, and how it was found
META_KEY = 'opacity_threshold'
FOUND_KEY = 'opacity_threshold_found'
#: where a config has the threshold
OPTION = 'model.occ_head.opacity_threshold'


def threshold_head(model: nn.Module) -> nn.Module:
    """The occupancy head of a model, if it goes by an opacity threshold.

    Raises:
        ConfigError: when it does not.
    """
    head = getattr(model, 'occ_head', None)
    if getattr(head, META_KEY, None) is None:
        raise ConfigError(
            f'{type(head).__name__} of model.occ_head predicts without an '
            'opacity threshold: use a head that has one, such as OccHead, '
            f'GaussianOccHead or DensityOccHead, and set {OPTION} to a '
            'number between 0 and 1'
        )
    return head


def sweep_thresholds(
    evaluator: Evaluator, model: nn.Module, wanted: Sequence[str] = ()
) -> Evaluator:
    """What validates a model: several thresholds, if it goes by one.

    While a network learns, nobody knows which threshold suits it, and at
    any other its scores say little: a checkpoint that was the best at 0.5
    may be the one whose opacities happen to be high.

    Args:
        evaluator: with the metrics of the validation.
        model: not wrapped for distributed training.
        wanted: keys that checkpoints are chosen by. The first by which
            a threshold can be chosen is the one that it is chosen by;
            RayIoU, or else mIoU, if there is none.

    Returns:
        Evaluator: a ThresholdSweep, which tries the head's own threshold,
        too; or ``evaluator`` itself, where the head has none or no metric
        can be swept.
    """
    head = getattr(model, 'occ_head', None)
    own = getattr(head, META_KEY, None)
    allowed = choices(evaluator.metrics)
    if own is None or not allowed or type(evaluator) is not Evaluator:
        return evaluator
    by = next((key for key in wanted if key in allowed), None)
    thresholds = (*VALIDATION_THRESHOLDS, own)
    sweep = ThresholdSweep(evaluator.metrics, thresholds, by)
    sweep.dataset_meta = evaluator.dataset_meta
    return sweep


def stored_threshold(
    meta: Mapping[str, Any], path: str | Path
) -> float | None:
    """The threshold in a checkpoint's meta, None where there is none.

    Raises:
        CheckpointError: when it is not a number between 0 and 1.
    """
    value = meta.get(META_KEY)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not 0 < value < 1:
        raise CheckpointError(
            f'checkpoint {path}: expected {META_KEY} in meta between 0 and '
            f'1, got {value!r}'
        )
    return float(value)


def apply_threshold(
    model: nn.Module,
    meta: Mapping[str, Any],
    path: str | Path,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Give the occupancy head the threshold that its checkpoint holds.

    A threshold on the command line stays, and a head that predicts the
    likeliest class goes on doing so: a checkpoint may be that of a method
    that its baseline's config is tested with. The log tells each time.

    Args:
        model (nn.Module): not wrapped for distributed training.
        meta (mapping): of the checkpoint.
        path: the checkpoint file.
        options (mapping, optional): what ``--cfg-options`` gave.

    Raises:
        CheckpointError: when it is not a number between 0 and 1.
    """
    value = stored_threshold(meta, path)
    if value is None:
        return
    head = getattr(model, 'occ_head', None)
    configured = getattr(head, META_KEY, None)
    found = f'checkpoint {path} has opacity threshold {value:g} '
    found += f'({meta.get(FOUND_KEY, "it does not say how it was found")})'
    if OPTION in (options or {}):
        said = f'not used: {configured} was given on the command line'
    elif configured is None:
        said = f'not used: {type(head).__name__} predicts without one'
    else:
        head.opacity_threshold = value
        said = f'used instead of {configured:g} in the config'
    print_log(f'{found}: {said}', logger='current', level=logging.INFO)


def threshold_meta(value: float, found: str) -> dict[str, float | str]:
    """What to put into the meta of a checkpoint.

    Args:
        value: the threshold.
        found: how it was found, in words.
    """
    return {META_KEY: float(value), FOUND_KEY: found}
