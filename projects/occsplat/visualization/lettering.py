"""Words in pictures."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

#: the ground of sheets, and the ink on it
PAPER, INK = (18, 20, 25), (232, 234, 240)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow.

    Args:
        size: pixels.
    """
    return ImageFont.load_default(size)


def write(
    image: np.ndarray, text: str, middle: tuple[float, float], size: int
) -> np.ndarray:
    """A picture with a line of light letters that have dark borders.

    Args:
        image: RGB, uint8 (H, W, 3).
        text: the line.
        middle: its middle, continuous pixels (u, v).
        size: of the letters in pixels.

    Returns:
        ndarray: a new RGB image.
    """
    canvas = Image.fromarray(image)
    ImageDraw.Draw(canvas).text(
        middle,
        text,
        font=font(size),
        fill=INK,
        anchor='mm',
        stroke_width=2,
        stroke_fill=PAPER,
    )
    return np.array(canvas)
