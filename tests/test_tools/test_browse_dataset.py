"""The tool draws what the training pipeline makes, and needs no network."""

import importlib
from functools import partial
from pathlib import Path

import pytest
from mmengine.registry import MODELS
from PIL import Image

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'occupancy_configs' / 'fbocc' / 'fbocc-tiny_minitown.py'


@pytest.fixture
def browse(monkeypatch, minitown_lidar2d):
    """A function from arguments to the files written."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    tool = importlib.import_module('browse_dataset')

    def refuse(*args, **kwargs):
        raise AssertionError('a network was built')

    monkeypatch.setattr(MODELS, 'build', refuse)
    # a ray for each pixel of the small images is enough here
    drawn = importlib.import_module('occsplat.visualization.input_sheet')
    monkeypatch.setattr(drawn, '_WIDTH', 96)
    monkeypatch.setattr(drawn, '_ABOVE', 160)
    coarse = partial(drawn.render_occupancy, supersample=1)
    monkeypatch.setattr(drawn, 'render_occupancy', coarse)
    root = f'data_root={minitown_lidar2d}/'

    def run(out, *arguments, options=()):
        return tool.main(
            [
                str(CONFIG),
                '--out',
                str(out),
                *arguments,
                '--cfg-options',
                root,
                'image_size=(96, 40)',
                *options,
            ]
        )

    return run


def test_sheets_are_spread_over_the_frames(browse, tmp_path, capsys):
    *sheets, page = browse(tmp_path, '--frames', '2')
    assert [sheet.stem.rpartition('_')[2] for sheet in sheets] == [
        '00000',
        '00003',
    ]
    with Image.open(sheets[0]) as image:
        assert image.width == 1920
    text = page.read_text()
    assert all(f'src="{sheet.name}"' in text for sheet in sheets)
    assert 'fbocc-tiny_minitown, train' in text
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3:] == [str(path) for path in (*sheets, page)]


def test_chance_follows_the_seed(browse, tmp_path):
    flips = ('train_dataloader.dataset.pipeline.2.flip=True',)
    pictures = []
    for n, seed in enumerate('112'):
        arguments = '--frames', '1', '--seed', seed
        sheet, _ = browse(tmp_path / str(n), *arguments, options=flips)
        with Image.open(sheet) as image:
            # below the title, which names the seed
            pictures.append(image.crop((0, 50, 1920, 600)).tobytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_validation_has_its_own_pipeline(browse, tmp_path):
    *sheets, page = browse(tmp_path, '--split', 'val', '--frames', '1')
    assert 'fbocc-tiny_minitown, val' in page.read_text()
    assert len(sheets) == 1


def test_mistakes_are_one_line(browse, tmp_path):
    with pytest.raises(SystemExit, match='error: config .* has no val_data'):
        browse(
            tmp_path,
            '--split',
            'val',
            options=(
                'val_dataloader=None',
                'val_cfg=None',
                'val_evaluator=None',
            ),
        )
    with pytest.raises(SystemExit, match='data root .* does not exist'):
        browse(tmp_path, options=('data_root=/nowhere',))
