"""Only whole JPEG and PNG images are decoded, by their own decoders."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from occsplat.data import DataError
from occsplat.data.images import image_size, read_image
from occsplat.data.transforms import LoadMultiViewImages

EPS = (
    b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n'
    b'0 0 8 8 rectfill\nshowpage\n%%EOF\n'
)


def encoded(image, kind, **more):
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def picture(mode='RGB', size=(12, 8)):
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3))
    return Image.fromarray(noise.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_pixels_are_those_of_the_file(tmp_path, kind, mode):
    path = tmp_path / 'image.jpg'
    path.write_bytes(encoded(picture(mode), kind))
    with Image.open(path) as image:
        expected = np.array(image.convert('RGB'))
    found = read_image(path)
    assert found.shape == (8, 12, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert image_size(path) == (12, 8)


def test_no_file_starts_another_program(tmp_path, monkeypatch):
    """PIL hands EPS to Ghostscript, whatever the file is called."""
    ran = tmp_path / 'ran'
    gs = tmp_path / 'gs'
    gs.write_text(f'#!/bin/sh\ntouch {ran}\nexit 1\n')
    gs.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    monkeypatch.setattr('PIL.EpsImagePlugin.gs_binary', None)
    path = tmp_path / 'front.jpg'
    path.write_bytes(EPS)
    # the trap works
    with pytest.raises(Exception), Image.open(path) as image:  # noqa: B017
        image.load()
    assert ran.exists()
    ran.unlink()
    record = dict(token='t', img_paths=[str(path)])
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r'front\.jpg cannot be read'):
            read(path)
    with pytest.raises(DataError, match=r'front\.jpg cannot be read'):
        LoadMultiViewImages()(record)
    assert not ran.exists()


def chunk(name, content):
    checked = name + content
    return (
        struct.pack('>I', len(content))
        + checked
        + struct.pack('>I', zlib.crc32(checked))
    )


def huge_png(width, height):
    """The header of an enormous image, and no pixels."""
    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', head)
        + chunk(b'IDAT', zlib.compress(b''))
        + chunk(b'IEND', b'')
    )


PNG = encoded(picture(), 'PNG')
BROKEN = {
    'empty': b'',
    'text': b'not an image',
    'gif': encoded(picture('P'), 'GIF'),
    'tiff': encoded(picture(), 'TIFF'),
    'bmp': encoded(picture(), 'BMP'),
    'cmyk': encoded(picture('CMYK'), 'JPEG'),
    'sixteen bits': encoded(
        Image.fromarray(np.zeros((8, 12), np.uint16)), 'PNG'
    ),
    'cut': encoded(picture(size=(64, 64)), 'JPEG')[:700],
    'cut png': PNG[: len(PNG) // 2],
    'damaged png': PNG[:60] + b'AAAA' + PNG[64:],
    'bomb': huge_png(10**5, 10**4),
    # PIL only warns of these
    'small bomb': huge_png(10**4, 10**4),
    'text bomb': PNG[:33]
    + chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(10**8)))
    + PNG[33:],
}


@pytest.mark.parametrize('name', BROKEN)
def test_everything_else_is_a_data_error(tmp_path, name):
    path = tmp_path / 'front.jpg'
    path.write_bytes(BROKEN[name])
    with pytest.raises(DataError, match=r'image .*front\.jpg') as error:
        read_image(path)
    assert '\n' not in str(error.value)


def test_a_folder_and_a_missing_file_are_called_so(tmp_path):
    with pytest.raises(DataError, match='it is a folder'):
        read_image(tmp_path)
    with pytest.raises(FileNotFoundError, match='none.jpg is missing'):
        image_size(tmp_path / 'none.jpg')
