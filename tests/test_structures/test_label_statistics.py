"""Label statistics: sums, files, and what is refused."""

import json
from dataclasses import asdict, replace

import pytest

import occsplat.data  # noqa: F401  registers label sets
from occsplat.structures import DataError, LabelSpec, LabelStatistics

STATISTICS = LabelStatistics(
    classes=('car', 'road', 'free'),
    speed_bins=(0.0, 2.5),
    counts=((30, 12), (500, 0), (9000, 0)),
    frames=3,
)


def write(path, **changes):
    """A file of statistics with some keys changed or, by None, removed."""
    content = {**asdict(STATISTICS), **changes}
    path.write_text(
        json.dumps({k: v for k, v in content.items() if v is not None})
    )
    return path


def test_classes_and_speed_groups_are_sums_of_the_table():
    assert STATISTICS.class_counts == (42, 500, 9000)
    assert STATISTICS.speed_counts == (9530, 12)


def test_a_file_brings_the_same_statistics_back(tmp_path):
    path = tmp_path / 'statistics.json'
    STATISTICS.save(path)
    assert LabelStatistics.load(path) == STATISTICS
    assert [p.name for p in tmp_path.iterdir()] == ['statistics.json']


def test_a_second_save_replaces_the_first(tmp_path):
    path = tmp_path / 'statistics.json'
    STATISTICS.save(path)
    replace(STATISTICS, frames=4).save(path)
    assert LabelStatistics.load(path).frames == 4


@pytest.mark.parametrize(
    'changes, key',
    [
        (dict(frames=None), r"missing keys \['frames'\]"),
        (dict(frames=0), 'frames'),
        (dict(frames=2.5), 'frames'),
        (dict(voxels=1), r"unknown keys \['voxels'\]"),
        (dict(classes='car'), 'classes'),
        (dict(classes=['car', 'road', 7]), 'classes'),
        (dict(classes=['car', 'free']), 'counts'),
        (dict(speed_bins=[0.0, '2.5']), 'speed_bins'),
        (dict(speed_bins=[1.0, 2.5]), 'speed_bins'),
        (dict(speed_bins=[0.0, 0.0]), 'speed_bins'),
        (dict(speed_bins=[0.0, float('nan')]), 'speed_bins'),
        (dict(speed_bins=[]), 'speed_bins'),
        (dict(counts=[1, 2, 3]), 'counts'),
        (dict(counts=[[30, 12], [500], [9000, 0]]), 'counts'),
        (dict(counts=[[30, 12], [500, -1], [9000, 0]]), 'counts'),
        (dict(counts=[[30, 12], [500, 0.5], [9000, 0]]), 'counts'),
        (dict(counts=[[30, True], [500, 0], [9000, 0]]), 'counts'),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_key(tmp_path, changes, key):
    path = write(tmp_path / 'wrong.json', **changes)
    with pytest.raises(DataError, match=f'wrong.json.*{key}'):
        LabelStatistics.load(path)


@pytest.mark.parametrize('text', ['', '{"classes": [', '[1, 2]', 'null'])
def test_a_file_that_holds_something_else_is_refused(tmp_path, text):
    path = tmp_path / 'wrong.json'
    path.write_text(text)
    with pytest.raises(DataError, match='wrong.json'):
        LabelStatistics.load(path)


def test_a_missing_file_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match='create_data.py stats'):
        LabelStatistics.load(tmp_path / 'none.json')


def test_statistics_fit_their_own_label_set_alone():
    spec = LabelSpec.named('occ3d')
    counts = tuple((1,) for _ in spec.classes)
    statistics = LabelStatistics(spec.classes, (0.0,), counts, frames=1)
    statistics.check(spec)
    with pytest.raises(ValueError, match="classes of 'openocc'"):
        statistics.check(LabelSpec.named('openocc'))
