"""Pictures on disk, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image


def write_png(path: str | Path, image: np.ndarray) -> Path:
    """Write an RGB image, uint8 (H, W, 3), as PNG.

    The file appears under its name only when it is complete; folders are
    made as needed.

    Returns:
        Path: where it is.
    """
    return _write(Path(path), [image], format='PNG')


def write_gif(
    path: str | Path, frames: Sequence[np.ndarray], fps: float = 2.0
) -> Path:
    """Write RGB images of one size, uint8 (H, W, 3), as a looping GIF.

    Args:
        path: the file, written as by ``write_png``.
        frames: at least one image.
        fps: frames a second.

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
        frames,
        format='GIF',
        save_all=True,
        duration=round(1000 / fps),
        loop=0,
    )


def _write(path: Path, frames: Sequence[np.ndarray], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    first, *others = [Image.fromarray(frame) for frame in frames]
    if options.get('save_all'):
        options['append_images'] = others
    try:
        first.save(part, **options)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
