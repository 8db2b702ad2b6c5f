"""Other key frames of the scene, seen from the current one.

Shape letters: M key frames, N cameras.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import torch
from torch import Tensor

from occsplat.structures import CameraRig


def key_frame(results: dict[str, Any], offset: int) -> dict[str, Any]:
    """The record ``offset`` key frames away.

    Where the scene ends, the current frame stands in for it, so that
    samples always have the same number of frames and can be stacked.
    """
    if offset == 0:
        return results
    found = results['neighbour'](offset)
    return results if found is None else found


def ref2cam_of(results: dict[str, Any], frame: dict[str, Any]) -> np.ndarray:
    """Current reference frame -> another frame's cameras.

    Through the global frame, so that the car's motion is in it.

    Args:
        results: the current frame.
        frame: record of the same or another key frame.

    Returns:
        ndarray: float64 (N, 4, 4), without volume augmentation.
    """
    if frame is results:
        return results['ref2cam']
    ref2frame = np.linalg.inv(frame['ref2global']) @ results['ref2global']
    return frame['ref2cam'] @ ref2frame


def seen_from(
    results: dict[str, Any], records: Sequence[dict[str, Any]], scale: float
) -> tuple[CameraRig, Tensor, Tensor]:
    """Where key frames are, seen from the current one, all in float64.

    Args:
        results: the current frame, with the ``raw_size`` of its images.
        records: of key frames, the current one's being ``results``.
        scale: size of the images relative to the raw ones.

    Returns:
        tuple: their cameras from the current reference frame, CameraRig
        (M, N); their reference frames -> the current one (M, 4, 4); and
        their times after it, seconds (M,).
    """
    rig = CameraRig.from_matrices(
        _stacked([ref2cam_of(results, record) for record in records]),
        _stacked([record['cam2img'] for record in records]),
        *results['raw_size'],
    )
    global2ref = np.linalg.inv(results['ref2global'])
    times = [r['timestamp'] - results['timestamp'] for r in records]
    return (
        rig.scaled(scale),
        _stacked([global2ref @ record['ref2global'] for record in records]),
        torch.tensor(times, dtype=torch.float64),
    )


def _stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
