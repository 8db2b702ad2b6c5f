"""Other key frames of the scene, seen from the current one.

Shape letters: N cameras.
"""

from __future__ import annotations

from typing import Any

import numpy as np


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
