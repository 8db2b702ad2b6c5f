"""What the image network knows of one frame.

Shape letters: B batch, N cameras, C context channels, S stereo channels,
H W network-input image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class ImageFeatures:
    """Feature maps of the N cameras of one frame.

    Attributes:
        maps (tuple of Tensor): all that backbone and neck give, finest
            first, each (B, N, C, H/s, W/s), s of 16 for the first in most;
            a lifter says which it reads. Empty in a frame that is there
            for the stereo matching of the next one only.
        stereo (Tensor | None): what is matched between frames,
            (B, N, S, H/4, W/4); None where the lifter doesn't ask for it.
    """

    maps: tuple[Tensor, ...]
    stereo: Tensor | None = None

    def float(self) -> ImageFeatures:
        """The same in single precision."""
        return ImageFeatures(
            tuple(level.float() for level in self.maps),
            None if self.stereo is None else self.stereo.float(),
        )


def all_maps(maps: Any, neck: nn.Module | None) -> tuple[Tensor, ...]:
    """The maps of a backbone, or of the neck behind it, as a tuple.

    Args:
        maps: feature maps of the backbone, finest first, or one map.
        neck (nn.Module, optional): of the image features.

    Returns:
        tuple of Tensor: each (B * N, C, H, W).
    """
    if neck is not None:
        maps = neck(maps)
    return tuple(maps) if isinstance(maps, (list, tuple)) else (maps,)


def full_precision(like: Tensor) -> torch.autocast:
    """No autocast: depth, pooling and 3D convolutions are unstable with it.

    Args:
        like (Tensor): on the device that computes.
    """
    return torch.autocast(device_type=like.device.type, enabled=False)
