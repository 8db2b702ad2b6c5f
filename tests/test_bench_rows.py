"""The rows of the bench can run, on towns that keep apart."""

import sys
from pathlib import Path

import pytest

from occsplat.engine import load_config

ROOT = Path(__file__).parents[1]
FILE = ROOT / 'occupancy_configs/bench/rows.py'


@pytest.fixture(scope='module')
def rows():
    sys.path.insert(0, str(ROOT / 'tools'))
    from comparison.rows import parse_options, read_rows

    return [(row, parse_options(row.options)) for row in read_rows(FILE)]


def roots(loader):
    root = loader.dataset.data_root
    return {root} if isinstance(root, str) else set(root)


def test_no_row_is_scored_on_a_town_that_it_or_its_encoder_saw(rows):
    encoder = load_config(
        ROOT / 'occupancy_configs/pretrain/'
        'depth-semantics_fbocc-tiny_minitown.py'
    )
    for row, options in rows:
        cfg = load_config(row.config, options)
        seen = roots(cfg.train_dataloader) | roots(encoder.train_dataloader)
        for loader in (cfg.val_dataloader, cfg.test_dataloader):
            assert not roots(loader) & seen, row.name
            # eight scenes
            assert loader.dataset.ann_file == 'occsplat_infos_train.pkl'


def test_a_row_and_its_baseline_see_the_same_frames_as_often(rows):
    by_name = {row.name: (row, options) for row, options in rows}
    for row, options in rows:
        if row.baseline is None or row.name == 'fbocc-twice':
            continue
        mine, other = (
            load_config(r.config, o)
            for r, o in ((row, options), by_name[row.baseline])
        )
        assert roots(mine.train_dataloader) == roots(other.train_dataloader)
        assert mine.train_cfg == other.train_cfg
        assert mine.optim_wrapper == other.optim_wrapper


def test_the_controls_are_there(rows):
    by_name = {row.name: row for row, _ in rows}
    again = by_name['fbocc-again']
    assert again.seed_offset and again.baseline == 'fbocc'
    assert again.options == by_name['fbocc'].options
    assert by_name['fbocc-twice'].claim
