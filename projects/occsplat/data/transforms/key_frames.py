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
    return frame['ref2cam'] @ between(results, frame)


def between(source: dict[str, Any], target: dict[str, Any]) -> np.ndarray:
    """Reference frame of one key frame -> that of another, (4, 4) float64.

    Through the global frame, and exactly the identity where both are in
    one place: there and back is off by some 1e-13 m, which is enough to
    move what lies on the border of two voxels.
    """
    if np.array_equal(source['ref2global'], target['ref2global']):
        return np.eye(4)
    return np.linalg.inv(target['ref2global']) @ source['ref2global']


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
    times = [r['timestamp'] - results['timestamp'] for r in records]
    return (
        rig.scaled(scale),
        _stacked([between(record, results) for record in records]),
        torch.tensor(times, dtype=torch.float64),
    )


def _stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
