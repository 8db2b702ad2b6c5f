"""What the image network knows of one frame.

Shape letters: B batch, N cameras, C context channels, S stereo channels,
H W network-input image.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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
