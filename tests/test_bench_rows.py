"""The rows of the bench can run, on towns that keep apart."""

import sys
from pathlib import Path

import pytest

from occsplat.engine import load_config

ROOT = Path(__file__).parents[1]
FILE = ROOT / 'occupancy_configs/bench/rows.py'

# the rows are read once
pytestmark = pytest.mark.xdist_group('bench_rows')


@pytest.fixture(scope='module')
def rows():
    """Each row with its config."""
    sys.path.insert(0, str(ROOT / 'tools'))
    from comparison.rows import parse_options, read_rows

    return {
        row.name: (row, load_config(row.config, parse_options(row.options)))
        for row in read_rows(FILE)
    }


def roots(loader):
    root = loader.dataset.data_root
    return {root} if isinstance(root, str) else set(root)


def test_no_row_is_scored_on_a_town_that_it_or_its_encoder_saw(rows):
    encoder = load_config(
        ROOT / 'occupancy_configs/pretrain/'
        'depth-semantics_fbocc-tiny_minitown.py'
    )
    for row, cfg in rows.values():
        seen = roots(cfg.train_dataloader) | roots(encoder.train_dataloader)
        for loader in (cfg.val_dataloader, cfg.test_dataloader):
            assert not roots(loader) & seen, row.name
            # eight scenes
            assert loader.dataset.ann_file == 'occsplat_infos_train.pkl'


def test_a_row_and_its_baseline_see_the_same_frames_as_often(rows):
    for row, mine in rows.values():
        if row.baseline is None or row.name == 'fbocc-twice':
            continue
        other = rows[row.baseline][1]
        assert roots(mine.train_dataloader) == roots(other.train_dataloader)
        assert mine.train_cfg == other.train_cfg
        assert mine.optim_wrapper == other.optim_wrapper


def test_the_controls_are_there(rows):
    again, host = rows['fbocc-again'][0], rows['fbocc'][0]
    assert again.seed_offset and again.baseline == 'fbocc'
    assert again.options == host.options
    assert rows['fbocc-twice'][0].claim
