"""MP4 files, read back."""

import sys

import numpy as np
import pytest

from occsplat.structures import DataError, MissingPackageError
from occsplat.visualization import write_mp4

RED, GREEN, BLUE = (255, 158, 0), (0, 175, 0), (0, 150, 245)


def ffmpeg():
    return pytest.importorskip(
        'imageio_ffmpeg', reason="needs the extra: pip install '.[video]'"
    )


def picture(height, width, *colors) -> np.ndarray:
    """Stripes from left to right."""
    image = np.zeros((height, width, 3), np.uint8)
    for stripe, color in zip(np.array_split(image, 3, axis=1), colors):
        stripe[...] = color
    return image


def test_a_film_has_its_pictures_its_pace_and_its_colours(tmp_path):
    package = ffmpeg()
    colors = RED, GREEN, BLUE
    pictures = [
        picture(48, 96, *(colors[(n + k) % 3] for k in range(3)))
        for n in range(20)
    ]
    path = write_mp4(tmp_path / 'new' / 'a.mp4', iter(pictures), 8.0)
    assert [p.name for p in path.parent.iterdir()] == ['a.mp4']
    reader = package.read_frames(path)
    about = next(reader)
    assert about['codec'] == 'h264' and about['size'] == (96, 48)
    assert about['pix_fmt'].startswith('yuv420p(tv, bt709')
    assert (about['fps'], about['duration']) == (8.0, 2.5)
    frames = [
        np.frombuffer(data, np.uint8).reshape(48, 96, 3) for data in reader
    ]
    assert len(frames) == 20
    for shown, given in zip(frames, pictures):
        for column in (16, 48, 80):
            middle = shown[8:40, column - 8 : column + 8].mean(axis=(0, 1))
            assert np.abs(middle - given[0, column]).max() < 6
    # a browser starts before it has all of it
    content = path.read_bytes()
    assert content.index(b'moov') < content.index(b'mdat')


def test_sizes_become_even_and_any_pace_will_do(tmp_path):
    package = ffmpeg()
    pictures = [picture(33, 51, RED, RED, RED)] * 16
    path = write_mp4(tmp_path / 'a.mp4', pictures, 16.04321)
    reader = package.read_frames(path)
    about = next(reader)
    assert about['size'] == (52, 34)
    assert about['duration'] == pytest.approx(16 / 16.04321, abs=0.011)
    shown = np.frombuffer(next(reader), np.uint8).reshape(34, 52, 3)
    assert np.abs(shown[4:30, 4:46].astype(int) - RED).max() < 12
    assert shown[-1].max() < 128 and shown[:, -1].max() < 128


def test_what_is_no_film(tmp_path):
    ffmpeg()
    with pytest.raises(ValueError, match='at least one picture'):
        write_mp4(tmp_path / 'a.mp4', [], 8)
    two = [picture(32, 48, RED, RED, RED), picture(32, 46, RED, RED, RED)]
    with pytest.raises(ValueError, match=r'picture 2: .*32, 48.*32, 46'):
        write_mp4(tmp_path / 'a.mp4', two, 8)
    assert not list(tmp_path.iterdir())


#: programs in ffmpeg's place; the last one writes a film of one picture
FAILING = [
    'cat > /dev/null; exit 1',
    'exit 1',
    'case "$*" in *rawvideo*) head -c 460800 | {real} "$@"; cat > /dev/null;;'
    ' *) exec {real} "$@";; esac',
]


@pytest.mark.parametrize('program', FAILING)
def test_an_ffmpeg_that_does_not_write_all(tmp_path, monkeypatch, program):
    real = ffmpeg().get_ffmpeg_exe()
    script = tmp_path / 'ffmpeg'
    script.write_text(f'#!/bin/sh\n{program.format(real=real)}\n')
    script.chmod(0o755)
    monkeypatch.setenv('IMAGEIO_FFMPEG_EXE', str(script))
    out = tmp_path / 'out'
    # each is more than a pipe holds
    pictures = [picture(320, 480, RED, GREEN, BLUE)] * 3
    with pytest.raises(DataError, match='not written all of .*a.mp4') as stop:
        write_mp4(out / 'a.mp4', pictures, 8)
    assert '\n' not in str(stop.value) and not list(out.iterdir())


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
    with pytest.raises(MissingPackageError, match=r"'occsplat\[video\]'"):
        write_mp4(tmp_path / 'a.mp4', [picture(8, 8, RED, RED, RED)], 8)
