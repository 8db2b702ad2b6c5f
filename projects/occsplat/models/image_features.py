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
        context (Tensor | None): what is lifted, (B, N, C, H/s, W/s), s of
            the backbone and neck, 16 in most; None in a frame that is
            there for the stereo matching of the next one only.
        stereo (Tensor | None): what is matched between frames,
            (B, N, S, H/4, W/4); None where the lifter doesn't ask for it.
    """

    context: Tensor | None
    stereo: Tensor | None = None

    def float(self) -> ImageFeatures:
        """The same in single precision."""
        return ImageFeatures(
            None if self.context is None else self.context.float(),
            None if self.stereo is None else self.stereo.float(),
        )


def context_map(maps: Any, neck: nn.Module | None) -> Tensor:
    """The map that is lifted, of all that a backbone gives.

    Args:
        maps: feature maps, finest first, or one map.
        neck (nn.Module, optional): of the image features.

    Returns:
        Tensor: (B * N, C, H, W).
    """
    if neck is not None:
        maps = neck(maps)
    # a backbone without a neck lists its maps
    return maps[0] if isinstance(maps, (list, tuple)) else maps


def full_precision(like: Tensor) -> torch.autocast:
    """No autocast: depth, pooling and 3D convolutions are unstable with it.

    Args:
        like (Tensor): on the device that computes.
    """
    return torch.autocast(device_type=like.device.type, enabled=False)
