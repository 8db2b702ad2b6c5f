"""Pictures on disk, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image

from occsplat.structures import whole_file

#: RGB times this is one number per colour
_PACK = np.array([1 << 16, 1 << 8, 1])


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

    A frame of a GIF has 256 colours.

    Args:
        path: the file, written as by ``write_png``.
        frames: at least one image.
        fps: frames per second.
        exact: RGB colours that stay what they are, such as a palette of
            classes; the others are rounded to what is left of the 256.

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
        [_paletted(frame, exact) for frame in frames],
        format='GIF',
        save_all=True,
        duration=round(1000 / fps),
        loop=0,
    )


def _paletted(
    frame: np.ndarray, exact: Sequence[tuple[int, int, int]]
) -> Image.Image:
    """A frame with a palette that ends with the exact colours."""
    room = 256 - len(exact)
    # an octree keeps rare colours, of which a median makes common ones
    rounded = Image.fromarray(frame).quantize(
        room, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    palette = (rounded.getpalette() + [0] * 768)[: 3 * room]
    index, packed = np.array(rounded), frame @ _PACK
    for number, color in enumerate(exact, start=room):
        index[packed == np.array(color) @ _PACK] = number
        palette += color
    image = Image.fromarray(index)
    image.putpalette(palette)
    return image


def _write(path: Path, frames: Sequence[Image.Image], **options) -> Path:
    first, *others = frames
    if options.get('save_all'):
        options['append_images'] = others
    with whole_file(path) as part:
        first.save(part, **options)
    return path
