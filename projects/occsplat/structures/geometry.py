"""Points from one frame to another.

Shape letters: P points.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from torch import Tensor

Array = TypeVar('Array', Tensor, np.ndarray)


def transform_points(matrix: Array, points: Array) -> Array:
    """Points expressed in another frame.

    Args:
        matrix: from the points' frame to the other one, (4, 4), a
            rotation (or any linear map) and an offset.
        points: (..., P, 3).

    Returns:
        As ``points``, arrays for arrays and tensors for tensors.
    """
    return points @ matrix[:3, :3].T + matrix[:3, 3]
