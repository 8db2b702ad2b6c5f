"""A fixed part of the training split."""

import random

import pytest

from occsplat.data import DataError, NuScenesOccDataset
from occsplat.data.info_files import read_infos
from occsplat.data.subsets import create_subset


@pytest.fixture
def root(minitown_infos, tmp_path):
    for path in minitown_infos.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_the_rule_draws_the_frames(root):
    whole = [x['token'] for x in read_infos(root, 'train')['data_list']]
    path, count = create_subset(root, 50, seed=2025)
    assert path.name == 'occsplat_infos_train_50percent.pkl'
    drawn = random.Random(2025).sample(range(len(whole)), len(whole) // 2)
    dataset = NuScenesOccDataset(root, path.name, 'openocc')
    tokens = [dataset.get_data_info(i)['token'] for i in range(len(dataset))]
    assert tokens == [whole[i] for i in sorted(drawn)]
    assert count == len(tokens) < len(whole)
    first = path.read_bytes()
    create_subset(root, 50, seed=2025)
    assert path.read_bytes() == first


def test_nuscenes_has_as_many_as_gaussrender_took():
    """5626 of 28130."""
    drawn = random.Random(2025).sample(range(28130), 28130 * 20 // 100)
    assert len(set(drawn)) == 5626


def test_a_part_without_a_frame_is_told(root):
    with pytest.raises(DataError, match='1 % of the .* key frames'):
        create_subset(root, 1, seed=0)
