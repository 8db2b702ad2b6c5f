"""Point clouds that are none are refused by name."""

import numpy as np
import pytest

from occsplat.data import DataError
from occsplat.data.point_clouds import read_points


def sweep(count=100):
    rng = np.random.default_rng(0)
    points = rng.uniform(-40, 40, (count, 5)).astype(np.float32)
    points[:, 3] = rng.integers(0, 256, count)
    points[:, 4] = rng.integers(0, 32, count)
    return points


def written(path, points):
    np.asarray(points, np.float32).tofile(path)
    return str(path)


def test_a_sweep_comes_back_bit_for_bit(tmp_path):
    points = sweep()
    back = read_points(written(tmp_path / 'a.bin', points), 5)
    np.testing.assert_array_equal(back, points)
    assert back.dtype == np.float32 and back.flags.writeable
    # other data sets have no beam numbers
    four = read_points(written(tmp_path / 'b.bin', points[:, :4]), 4)
    np.testing.assert_array_equal(four, points[:, :4])
    three = read_points(written(tmp_path / 'c.bin', points[:, :3]), 3)
    assert three.shape == (100, 3)


def changed(row, column, value):
    points = sweep()
    points[row, column] = value
    return points


@pytest.mark.parametrize(
    'points, match',
    [
        (np.full((100, 5), np.nan), '100 of 100 points are not finite'),
        (changed(7, 2, np.nan), '1 of 100 points .* the first is point 7'),
        (changed(0, 0, np.inf), '1 of 100 points are not finite'),
        (changed(3, 3, np.nan), '1 of 100 points are not finite'),
        (sweep() * 1000, 'of .* m. Is it in metres'),
        (sweep()[:, :4], 'number of columns'),
        (np.abs(sweep()[:, :4]), 'beam number .* such as 4'),
        (np.pad(sweep(), ((0, 0), (0, 1))), 'number of columns'),
        (changed(5, 4, 0.5), r'beam number \(column 5\) of 0.5'),
        (changed(5, 4, -1), 'beam number'),
        (changed(5, 4, 1e6), 'beam number'),
        (changed(5, 3, -3), r'intensity \(column 4\) of -3'),
    ],
)
def test_other_clouds_are_refused(tmp_path, points, match):
    path = written(tmp_path / 'a.pcd.bin', points)
    # the length fits all of them
    assert (tmp_path / 'a.pcd.bin').stat().st_size % 20 == 0
    with pytest.raises(DataError, match=f'{path}: .*{match}'):
        read_points(path, 5)


@pytest.mark.parametrize(
    'content, match',
    [
        (b'', 'has 0 bytes'),
        (b'x' * 33, 'has 33 bytes: expected a positive multiple of 20'),
        (b'# .PCD v0.7 - Point Cloud Data file format\n', 'a PCD file'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'git-lfs'),
        (b'<html><body>404</body></html>', 'a web page'),
    ],
)
def test_other_files_are_named(tmp_path, content, match):
    path = tmp_path / 'a.pcd.bin'
    path.write_bytes(content)
    with pytest.raises(DataError, match=match):
        read_points(str(path), 5)


@pytest.mark.parametrize('columns', [4, 5])
def test_npy_files_under_the_name_or_beside_it(tmp_path, columns):
    path = tmp_path / 'a.pcd.bin'
    with open(path, 'wb') as file:
        # with the header of 128 bytes the length fits: 128 + 16 * 102
        np.save(file, sweep(102)[:, :columns])
    with pytest.raises(DataError, match=f'{path} is a NumPy file'):
        read_points(str(path), 5)
    beside = path.with_name('a.pcd.bin.npy')
    path.rename(beside)
    with pytest.raises(FileNotFoundError, match=f'{path}.*{beside}'):
        read_points(str(path), 5)
