"""Pictures as an MP4, whole or not at all."""

from __future__ import annotations

import importlib
from contextlib import closing
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Iterable

import numpy as np

from occsplat.structures import (
    DataError,
    MissingPackageError,
    same_shape,
    whole_file,
)

from .lettering import PAPER

#: of 10, for imageio-ffmpeg: letters and edges of voxels stay sharp
_QUALITY = 6
#: what browsers and players agree on: colours as in HDTV, and said to be
#: so; the index in front, so that a film begins before all of it is there
_OPTIONS = (
    '-vf scale=out_color_matrix=bt709:out_range=tv,setparams=colorspace='
    'bt709:color_primaries=bt709:color_trc=bt709 -movflags +faststart -f mp4'
)


def import_ffmpeg() -> ModuleType:
    """``imageio_ffmpeg``, which brings a program for films.

    Raises:
        MissingPackageError: when it is not installed.
    """
    try:
        return importlib.import_module('imageio_ffmpeg')
    except ImportError as error:
        raise MissingPackageError(
            'an MP4 needs imageio-ffmpeg: run pip install '
            "'occsplat[video]', or make a film with --gif"
        ) from error


def write_mp4(
    path: str | Path, pictures: Iterable[np.ndarray], fps: float
) -> Path:
    """Write RGB images of one size, uint8 (H, W, 3), as a film.

    H.264 with 4:2:0 chroma, which every browser plays. Sizes become even
    by a line of the sheets' ground at the right or below. Pictures are
    taken one by one, and need not be in memory together.

    Args:
        path: the file, written as by ``write_png``.
        pictures: at least one image.
        fps: pictures per second.

    Returns:
        Path: where it is.

    Raises:
        MissingPackageError: when imageio-ffmpeg is not installed.
        ValueError: when there is no picture or sizes differ.
        DataError: when ffmpeg does not write all of them.
    """
    ffmpeg, path = import_ffmpeg(), Path(path)
    pictures = iter(pictures)
    first = next(pictures, None)
    if first is None:
        raise ValueError('an MP4 needs at least one picture, got none')
    height, width = _even(first).shape[:2]
    count = 0
    with whole_file(path) as part:
        writer = ffmpeg.write_frames(
            str(part),
            (width, height),
            fps=fps,
            codec='libx264',
            quality=_QUALITY,
            macro_block_size=2,
            output_params=_OPTIONS.split(),
        )
        with closing(writer):
            writer.send(None)
            for count, picture in enumerate(chain([first], pictures), 1):
                same_shape(f'picture {count}', picture.shape, first.shape)
                try:
                    writer.send(_even(picture).tobytes())
                except OSError as error:
                    raise _unwritten(path) from error
        # whether ffmpeg has succeeded, its package does not say
        try:
            written, _ = ffmpeg.count_frames_and_secs(part)
        except RuntimeError as error:
            raise _unwritten(path) from error
        if written != count:
            raise _unwritten(path)
    return path


def _unwritten(path: Path) -> DataError:
    return DataError(
        f'ffmpeg has not written all of {path}: what it says stands above. '
        'Where IMAGEIO_FFMPEG_EXE names a program of yours, it needs libx264'
    )


def _even(picture: np.ndarray) -> np.ndarray:
    """A picture of an even width and height: 4:2:0 halves both."""
    height, width = picture.shape[:2]
    if height % 2 == width % 2 == 0:
        return picture
    size = (height + height % 2, width + width % 2, 3)
    padded = np.full(size, PAPER, picture.dtype)
    padded[:height, :width] = picture
    return padded
