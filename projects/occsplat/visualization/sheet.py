"""Labelled pictures on one sheet.

Shape letters: H W image.
"""

from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from occsplat.structures import LabelSpec

from .colors import OTHER
from .lettering import INK, PAPER, font, write

#: pixels between pictures
GAP = 6

#: a title and an RGB image, uint8 (H, W, 3)
Panel = tuple[str, np.ndarray]


def contact_sheet(
    rows: Sequence[Sequence[Panel]],
    width: int = 1920,
    title: str = '',
    spec: LabelSpec | None = None,
    key: np.ndarray | None = None,
    others: Sequence[str] = (),
) -> np.ndarray:
    """Rows of titled pictures, each row as wide as the sheet.

    Pictures of a row are scaled to one height such that they fill it.

    Args:
        rows: panels, from top to bottom and left to right.
        width: pixels.
        title: a line above everything.
        spec: adds a legend of its classes at the foot.
        key: an image to put beside the legend, such as ``flow_key``.
        others: categories outside the label set, for the legend.

    Returns:
        ndarray: RGB, uint8 (H, width, 3).

    Raises:
        ValueError: when there is nothing to show.
    """
    if not rows or not all(rows):
        raise ValueError(
            'a contact sheet needs at least one row of at least one '
            f'picture, got rows of {[len(row) for row in rows]}'
        )
    strips = []
    if title:
        strips.append(_text_strip(title, width, 24))
    strips += [_row(row, width) for row in rows]
    if spec is not None:
        strips.append(legend(spec, width, key, others))
    gap = np.full((GAP, width, 3), PAPER, dtype=np.uint8)
    parts = [gap]
    for strip in strips:
        parts += [strip, gap]
    return np.concatenate(parts)


def legend(
    spec: LabelSpec,
    width: int = 1920,
    key: np.ndarray | None = None,
    others: Sequence[str] = (),
) -> np.ndarray:
    """Colour swatches with the classes' names, wrapped to the width.

    Args:
        spec: classes and palette; the free class is left out.
        width: pixels.
        key: the flow disc, put at the right with a word of explanation.
        others: categories outside the label set that are drawn, too.

    Returns:
        ndarray: RGB, uint8 (H, width, 3).
    """
    letters, size = font(18), 18
    words = 'flow: hue is heading (up: forward)'
    room = width - GAP
    if key is not None:
        room -= key.shape[1] + round(letters.getlength(words)) + 5 * GAP
    shown = [(spec.classes[n], spec.palette[n]) for n in spec.occupied]
    shown += [(name, OTHER) for name in others]
    entries, x, y = [], 2 * GAP, 0
    for name, color in shown:
        name = name.replace('_', ' ')
        step = size + 8 + round(letters.getlength(name)) + 22
        if x + step > room and x > 2 * GAP:
            x, y = 2 * GAP, y + size + 12
        entries.append((x, y, name, color))
        x += step
    height = y + size + 12
    if key is not None:
        height = max(height, key.shape[0])
    image = Image.new('RGB', (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    for x, y, name, color in entries:
        draw.rectangle((x, y + 3, x + size, y + 3 + size), fill=color)
        draw.text((x + size + 8, y + 1), name, font=letters, fill=INK)
    if key is not None:
        draw.text((room + 2 * GAP, 4), words, font=letters, fill=INK)
        image.paste(Image.fromarray(key), (width - GAP - key.shape[1], 0))
    return np.array(image)


def with_note(image: np.ndarray, note: str) -> np.ndarray:
    """A picture with a line of text below its middle.

    Args:
        image: RGB, uint8 (H, W, 3).
        note: the picture itself is given back where there is none.
    """
    if not note:
        return image
    height, width = image.shape[:2]
    # small pictures have small letters, and large ones no headlines
    size = min(height / 12, 0.9 * width * 20 / font(20).getlength(note), 28)
    middle = (width / 2, height * 2 / 3)
    return write(image, note, middle, max(round(size), 8))


def _row(panels: Sequence[Panel], width: int) -> np.ndarray:
    """One row, RGB (H, width, 3)."""
    room = width - GAP * (len(panels) + 1)
    ratios = [image.shape[1] / image.shape[0] for _, image in panels]
    height = max(round(room / sum(ratios)), 1)
    strip = np.full((height, width, 3), PAPER, dtype=np.uint8)
    left = float(GAP)
    for (title, image), ratio in zip(panels, ratios):
        # rounding both ends keeps the right margin exact
        right = left + room * ratio / sum(ratios)
        start, stop = round(left), round(right)
        strip[:, start:stop] = _titled(image, title, stop - start, height)
        left = right + GAP
    return strip


def _titled(
    image: np.ndarray, title: str, width: int, height: int
) -> np.ndarray:
    """The picture at a size, its title in the upper left corner."""
    shrinks = width < image.shape[1]
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    image = cv2.resize(image, (width, height), interpolation=mode)
    if not title:
        return image
    letters = font(15)
    right = min(round(letters.getlength(title)) + 14, width)
    corner = image[:24, :right]
    corner[...] = corner // 4 + np.array(PAPER, dtype=np.uint8) // 4 * 3
    canvas = Image.fromarray(image)
    ImageDraw.Draw(canvas).text((7, 2), title, font=letters, fill=INK)
    return np.array(canvas)


def _text_strip(text: str, width: int, size: int) -> np.ndarray:
    canvas = Image.new('RGB', (width, size + 12), PAPER)
    ImageDraw.Draw(canvas).text((2 * GAP, 2), text, font=font(size), fill=INK)
    return np.array(canvas)
