"""Statistics of label files: counted by hand, and on a MiniTown."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from occsplat.data import DataError
from occsplat.data.info_files import read_infos
from occsplat.data.statistics import (
    count_labels,
    count_voxels,
    statistics_table,
)
from occsplat.data.workers import each_frame
from occsplat.structures import LabelSpec, LabelStatistics

TOOL = Path(__file__).parents[2] / 'tools' / 'create_data.py'
OPENOCC = LabelSpec.named('openocc')
CAR, ROAD, FREE = 0, 10, 16


def copied(source, target):
    """A root whose labels may be damaged; the rest is linked."""
    for path in source.iterdir():
        if path.name != 'openocc_v2':
            (target / path.name).symlink_to(path)
    shutil.copytree(source / 'openocc_v2', target / 'openocc_v2')
    return target


def label_file(root, split='train', index=0):
    return root / read_infos(root, split)['data_list'][index]['openocc_path']


def test_classes_and_speeds_of_a_frame_by_hand():
    occ = np.array([CAR, CAR, CAR, CAR, CAR, ROAD, FREE, 255, 255])
    vx = [0.0, 3.0, -6.0, 0.5, 40, 0.0, 0.0, 0.0, 7.0]
    vy = [0.0, 4.0, 0.0, -0.5, 30, 0.0, 0.0, 0.0, 0.0]
    flow = np.stack([vx, vy], -1).astype(np.float32)
    counts = count_voxels(occ, flow, OPENOCC, OPENOCC.speed_bins)
    # 0 and 0.7 m/s; none; none; 5 m/s, an edge, and 6 m/s; 50 m/s
    assert counts[CAR].tolist() == [2, 0, 0, 2, 1]
    assert counts[ROAD].tolist() == [1, 0, 0, 0, 0]
    assert counts[FREE].tolist() == [1, 0, 0, 0, 0]
    # ignored voxels are of no class
    assert counts.sum() == 7


def test_standing_still_is_the_slowest_group_not_the_fastest():
    occ = np.full(100, ROAD)
    counts = count_voxels(occ, np.zeros((100, 2)), OPENOCC, (0.0, 1.0, 10.0))
    assert counts[ROAD].tolist() == [100, 0, 0]


def test_labels_without_flow_have_one_group():
    counts = count_voxels(np.array([1, 1, 2]), None, OPENOCC, (0.0,))
    assert counts[:3].tolist() == [[0], [2], [1]]


@pytest.mark.parametrize('name', ['openocc', 'occ3d', 'surroundocc'])
def test_counts_are_those_of_the_training_files(minitown_infos, name):
    spec = LabelSpec.named(name)
    statistics = count_labels(minitown_infos, name, progress=False)
    statistics.check(spec)
    assert statistics.frames == 4
    expected = np.zeros(spec.num_classes, np.int64)
    for info in read_infos(minitown_infos, 'train')['data_list']:
        path = minitown_infos / info[f'{name}_path']
        if name == 'surroundocc':
            ids = np.load(path)[:, 3]
            # noise is ignored, voxels without a row are free
            expected += np.bincount(ids[ids > 0], minlength=spec.num_classes)
            expected[0] += np.prod(spec.grid.shape) - len(ids)
        else:
            ids = np.load(path)['semantics'].ravel()
            expected += np.bincount(ids, minlength=spec.num_classes)
    assert statistics.class_counts == tuple(expected)
    assert len(statistics.speed_bins) == (5 if name == 'openocc' else 1)


def test_speeds_are_those_of_the_training_files(minitown_infos):
    statistics = count_labels(minitown_infos, progress=False)
    expected = np.zeros(5, np.int64)
    for info in read_infos(minitown_infos, 'train')['data_list']:
        flow = np.load(minitown_infos / info['openocc_path'])['flow']
        speed = np.sqrt((flow.astype(np.float32) ** 2).sum(-1))
        for q, low in enumerate(OPENOCC.speed_bins):
            high = [*OPENOCC.speed_bins, np.inf][q + 1]
            expected[q] += ((speed >= low) & (speed < high)).sum()
    assert statistics.speed_counts == tuple(expected)
    # something moves, and only what can
    moving = np.array(statistics.counts)[:, 1:].sum(axis=1)
    assert moving.sum() > 0
    assert set(np.flatnonzero(moving)) <= set(OPENOCC.movable)


def test_processes_do_not_change_the_counts(minitown_infos):
    one, two = (
        count_labels(minitown_infos, workers=n, progress=False) for n in (1, 2)
    )
    assert one == two


@pytest.mark.parametrize('workers', [1, 2])
def test_a_damaged_file_is_named(minitown_infos, tmp_path, workers):
    root = copied(minitown_infos, tmp_path)
    path = label_file(root, index=2)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=f'{path} is damaged'):
        count_labels(root, workers=workers, progress=False)


def test_a_missing_file_is_named(minitown_infos, tmp_path):
    root = copied(minitown_infos, tmp_path)
    path = label_file(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        count_labels(root, progress=False)


def test_missing_infos_say_what_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match='create_data.py nuscenes'):
        count_labels(tmp_path)


def divide(record):
    return 1 / record['number']


def leave(record):
    os._exit(3)


def frames(*numbers):
    return [
        dict(token=f'token{n}', scene_name='town', number=n) for n in numbers
    ]


@pytest.mark.parametrize('workers', [1, 2])
def test_results_come_in_order_and_errors_name_the_frame(workers):
    done = each_frame(divide, frames(1, 2, 4), workers, progress=False)
    assert list(done) == [1, 0.5, 0.25]
    done = each_frame(divide, frames(1, 0), workers, progress=False)
    with pytest.raises(RuntimeError, match="'token0' of scene 'town'"):
        list(done)


def test_a_worker_that_dies_ends_the_run():
    with pytest.raises(RuntimeError, match='terminated abruptly'):
        list(each_frame(leave, frames(1, 2), 2, progress=False))


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match='1 or more, got 0'):
        list(each_frame(divide, frames(1), 0))


def test_the_table_has_a_row_for_each_class():
    statistics = LabelStatistics(
        ('car', 'free'), (0.0, 2.5), ((1, 2), (7, 0)), frames=1
    )
    head, car, free, total = statistics_table(statistics).splitlines()
    assert head.split() == ['share', '0-2.5', 'm/s', 'from', '2.5', 'm/s']
    assert car.split() == ['car', '30.0000%', '1', '2']
    assert free.split() == ['free', '70.0000%', '7', '0']
    assert total.split() == ['all', '100.0000%', '8', '2']


def test_the_command_writes_a_file_of_the_root(minitown_infos, tmp_path):
    root = copied(minitown_infos, tmp_path)
    command = [sys.executable, TOOL, 'stats', '--root', root, '--workers', '1']
    shown = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout
    path = root / 'openocc_statistics_train.json'
    assert LabelStatistics.load(path) == count_labels(root, progress=False)
    assert 'vegetation' in shown and f'{path}: 4 key frames' in shown
