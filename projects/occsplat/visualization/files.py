"""Pictures on disk, whole or not at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image

from occsplat.structures import whole_file

#: RGB times this is one number per colour
_PACK = np.array([1 << 16, 1 << 8, 1])
#: of a GIF's palette, and how many frames it is made for
_COLORS, _LOOKED_AT = 128, 8


def write_png(path: str | Path, image: np.ndarray) -> Path:
    """Write an RGB image, uint8 (H, W, 3), as PNG.

    The file appears under its name only when it is complete; folders are
    made as needed.

    Returns:
        Path: where it is.
    """
    return _write(Path(path), [Image.fromarray(image)], format='PNG')


def write_gif(
    path: str | Path,
    frames: Sequence[np.ndarray],
    fps: float = 2.0,
    exact: Sequence[tuple[int, int, int]] = (),
) -> Path:
    """Write RGB images of one size, uint8 (H, W, 3), as a looping GIF.

    All frames share one palette, of no more colours than they need: with
    256 of their own for each frame, a film is twice as large.

    Args:
        path: the file, written as by ``write_png``.
        frames: at least one image.
        fps: frames per second.
        exact: RGB colours that stay what they are, such as a palette of
            classes; the others are rounded to ``_COLORS``.

    Returns:
        Path: where it is.

    Raises:
        ValueError: when there is no frame or sizes differ.
    """
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        raise ValueError(
            'a GIF needs at least one frame, all of one size, got '
            f'{len(frames)} frames of shapes {sorted(sizes)}'
        )
    return _write(
        Path(path),
        _paletted(frames, exact),
        format='GIF',
        save_all=True,
        duration=round(1000 / fps),
        loop=0,
    )


def _paletted(
    frames: Sequence[np.ndarray], exact: Sequence[tuple[int, int, int]]
) -> list[Image.Image]:
    """Frames with a palette that ends with the exact colours."""
    every = math.ceil(len(frames) / _LOOKED_AT)
    some = np.concatenate([frame[::2, ::2] for frame in frames[::every]])
    # an octree keeps rare colours, of which a median makes common ones
    common = Image.fromarray(some).quantize(
        _COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    palette = (common.getpalette() + [0] * 768)[: 3 * _COLORS]
    palette += [part for color in exact for part in color]
    images = []
    for frame in frames:
        rounded = Image.fromarray(frame).quantize(
            palette=common, dither=Image.Dither.NONE
        )
        index, packed = np.array(rounded), frame @ _PACK
        for number, color in enumerate(exact, start=_COLORS):
            index[packed == np.array(color) @ _PACK] = number
        image = Image.fromarray(index)
        image.putpalette(palette)
        images.append(image)
    return images


def _write(path: Path, frames: Sequence[Image.Image], **options) -> Path:
    first, *others = frames
    if options.get('save_all'):
        options['append_images'] = others
    with whole_file(path) as part:
        first.save(part, **options)
    return path
