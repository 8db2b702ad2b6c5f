"""Camera images: one door for every file that is decoded.

An image library guesses a format from a file's bytes, whatever its name:
PIL would hand an EPS program named ``.jpg`` to Ghostscript. Cameras write
JPEG, tools write PNG, and no other decoder is let near a stranger's bytes.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import numpy as np
from PIL import Image

from .errors import DataError

_FORMATS = ('JPEG', 'PNG')
#: what PIL turns into RGB as the eye would; CMYK comes out differently with
#: each ink profile, and 16 bits per channel would be cut off
_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', '1')


def read_image(path: str | Path) -> np.ndarray:
    """Decode a JPEG or PNG file.

    Args:
        path: the file.

    Returns:
        ndarray: RGB, uint8 (H, W, 3).

    Raises:
        FileNotFoundError: when there is no such file.
        DataError: when it is anything but a whole JPEG or PNG image of
            usual colours and of less than ``PIL.Image.MAX_IMAGE_PIXELS``
            pixels.
    """
    with _opened(path) as image:
        return np.array(image.convert('RGB'))


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a JPEG or PNG file, from its header alone.

    Raises:
        FileNotFoundError, DataError: as ``read_image``; what is behind the
            header is not looked at.
    """
    with _opened(path) as image:
        return image.size


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """A file of an admitted format; all that goes wrong with it is told."""
    try:
        with warnings.catch_warnings():
            # PIL warns of twice as many pixels before it refuses
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.mode not in _MODES:
                    raise DataError(
                        f'image {path} has colours of mode {image.mode}: '
                        f'expected one of {", ".join(_MODES)}. Convert it '
                        'to RGB'
                    )
                yield image
    except DataError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'image {path} is missing: expected it where the info file '
            'says. Unpack the camera archives below the data root, or run '
            'tools/create_data.py again if files have moved'
        ) from error
    # PIL's decoders fail with nearly any error
    except Exception as error:
        raise DataError(
            f'image {path} cannot be read ({_reason(error, path)}): '
            'expected a whole JPEG or PNG file. Unpack or copy it again'
        ) from error


def _reason(error: Exception, path: str | Path) -> str:
    """What went wrong, in one line and without the path again."""
    if Path(path).is_dir():
        return 'it is a folder'
    if isinstance(error, (MemoryError, OSError)) and not str(error):
        return type(error).__name__
    text = ' '.join(str(error).split()) or type(error).__name__
    return text.replace(f' {str(path)!r}', '')
