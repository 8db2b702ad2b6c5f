"""What a config changes, builds and reads."""

from pathlib import Path

import pytest
from mmengine.config import Config

from occsplat.engine import ConfigError, load_config
from occsplat.engine.config_report import (
    baseline_of,
    differences,
    needed_files,
    parameter_counts,
)

CONFIGS = Path(__file__).parents[2] / 'occupancy_configs'
TINY = CONFIGS / 'fbocc' / 'fbocc-tiny_minitown.py'
METHOD = CONFIGS / 'voxelsplat' / 'voxelsplat_fbocc-tiny_minitown.py'


def test_a_methods_baseline_is_its_host():
    assert baseline_of(METHOD) == TINY
    # through another config of the same method
    released = 'gaussrender-released_fbocc-r50_8xb2-48e_occ3d.py'
    assert baseline_of(CONFIGS / 'gaussrender' / released) == (
        CONFIGS / 'fbocc' / 'fbocc-r50_8xb2-48e_occ3d.py'
    )


def test_a_baseline_may_be_in_the_same_folder_or_nowhere():
    folder = CONFIGS / 'gsrender'
    assert baseline_of(folder / 'gsrender-2f_bevstereo-tiny_minitown.py') == (
        folder / 'gsrender-1f_bevstereo-tiny_minitown.py'
    )
    assert baseline_of(TINY) is None


def test_differences_are_told_key_by_key():
    old = dict(
        model=dict(type='A', depth=(1, 2), gone=3, same=4),
        custom_imports=dict(imports=['x']),
        not_read_by_a_run=1,
    )
    new = dict(
        model=dict(type='A', depth=[1, 3], same=4, head=dict(type='H', k=0)),
        custom_imports=dict(imports=['x']),
        not_read_by_a_run=2,
    )
    assert differences(old, new) == [
        'model.depth: [1, 2] -> [1, 3]',
        'model.gone: 3 -> (none)',
        "model.head.type: (none) -> 'H'",
        'model.head.k: (none) -> 0',
    ]
    assert differences(old, old) == []


def test_steps_of_a_pipeline_are_told_by_type():
    load, aug, pack = (dict(type=name) for name in ('L', 'A', 'P'))
    old = dict(model=[load, aug, pack])
    more = dict(model=[load, dict(type='N', x=1), dict(aug, size=2), pack])
    assert differences(old, more) == [
        'model.A.size: (none) -> 2',
        "model.N.type: (none) -> 'N'",
        'model.N.x: (none) -> 1',
    ]
    # two of a type
    assert differences(old, dict(model=[load, aug, dict(aug, k=1), pack])) == [
        "model.A#2.type: (none) -> 'A'",
        'model.A#2.k: (none) -> 1',
    ]
    assert differences(old, dict(model=[aug, load, pack])) == [
        "model (order): ['L', 'A', 'P'] -> ['A', 'L', 'P']"
    ]


def test_a_method_changes_nothing_but_its_head():
    lines = differences(
        load_config(TINY).to_dict(), load_config(METHOD).to_dict()
    )
    start = 'model.render_heads'
    assert lines and all(line.startswith(start) for line in lines)
    assert any('num_samples: (none) -> 12000' in line for line in lines)


def test_parameters_are_those_of_the_parts():
    cfg = load_config(METHOD)
    counts = parameter_counts(cfg)
    assert counts['render_heads'] == (0, 0)
    whole, learn = counts['volume_encoder']
    assert whole == learn > 0
    # frozen
    assert counts['img_backbone'][0] > 0 == counts['img_backbone'][1]
    cfg.model.occ_head.hidden = 'many'
    with pytest.raises(ConfigError, match='model'):
        parameter_counts(cfg)


def test_files_are_those_of_the_transforms():
    images, labels = 'img_paths', 'openocc_path'
    assert needed_files(load_config(METHOD)) == dict(
        train=(images, labels), val=(images, labels)
    )
    pixels = CONFIGS / 'gsrender' / 'gsrender-1f_bevstereo-tiny_minitown.py'
    assert needed_files(load_config(pixels)) == dict(
        train=(images, 'lidar2d_path'), val=(images, 'occ3d_path')
    )
    assert needed_files(Config(dict(model={}))) == {}
