"""tools/view.py: which frames it shows, and how large its page is."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from occsplat.data.safe_pickle import load_plain
from occsplat.engine import build_split, load_config, raw_views
from occsplat.structures import LabelSpec
from occsplat.visualization import Boxes
from occsplat.visualization.viewer import viewer_frame, write_viewer

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'occupancy_configs' / 'fbocc'
TINY = str(CONFIGS / 'fbocc-tiny_minitown.py')
FULL = str(CONFIGS / 'fbocc-r50_8xb2-48e_openocc.py')


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('view')


def test_labels_alone(tool, minitown_infos, tmp_path, capsys):
    root = f'val_dataloader.dataset.data_root={minitown_infos}'
    command = [TINY, '--out', str(tmp_path / 'new' / 'a.html')]
    command += ['--frames', '2', '--cfg-options', root]
    path = tool.main(command)
    assert path == tmp_path / 'new' / 'a.html'
    text = path.read_text(encoding='utf-8')
    infos = load_plain(minitown_infos / 'occsplat_infos_val.pkl')
    scene = infos['data_list'][0]['scene_name']
    assert text.count('class="frame"') == 2
    assert f'"{scene}, 0.0 s"' in text and f'"{scene}, 0.5 s"' in text
    assert '[2/2]' in capsys.readouterr().out
    assert [p.name for p in path.parent.iterdir()] == ['a.html']


def test_frames_of_a_scene(tool, minitown_infos):
    cfg = load_config(TINY, {'data_root': f'{minitown_infos}/'})
    dataset = build_split(cfg, 'val')
    name = dataset.get_data_info(0)['scene_name']
    assert tool.scene_frames(dataset, name) == [0, 1, 2, 3]
    assert tool.scene_frames(dataset, None) == list(range(len(dataset)))
    with pytest.raises(tool.ConfigError, match=f'one of .*{name}.*, got x'):
        tool.scene_frames(dataset, 'x')


def test_boxes_are_those_that_a_beam_has_hit(tool, minitown_infos):
    cfg = load_config(TINY, {'data_root': f'{minitown_infos}/'})
    dataset = build_split(cfg, 'val')
    info = load_plain(minitown_infos / 'occsplat_infos_val.pkl')
    entry = info['data_list'][0]
    record = dataset.get_data_info(0)
    spec = LabelSpec.named(dataset.label_spec)
    sample = dataset[0]['data_samples']
    shown = tool.frame_of(sample, record, spec, '').arrays
    kept = [i for i in entry['instances'] if i['num_lidar_pts'] > 0]
    assert 0 < len(kept) < len(entry['instances'])
    boxes = Boxes.from_instances(
        [{**i, 'bbox_3d_isvalid': True} for i in kept],
        record['lidar2ref'],
        info['metainfo']['categories'],
        spec,
    )
    low, high = spec.grid.min[:2], spec.grid.max[:2]
    middle = boxes.centers[:, :2]
    inside = ((middle >= low) & (middle <= high)).all(axis=-1)
    assert len(shown['boxes']) == inside.sum() > 0
    assert np.allclose(shown['boxes'], boxes.corners[inside], atol=1e-4)
    assert np.array_equal(shown['box_colors'], boxes.colors[inside])


def test_eight_frames_can_be_mailed(tool, minitown_infos, tmp_path):
    """At full size, with photographs and points that do not compress."""
    options = {'val_dataloader.dataset.data_root': f'{minitown_infos}/'}
    dataset = build_split(load_config(FULL, options), 'val')
    spec = LabelSpec.named(dataset.label_spec)
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (450, 800, 3), np.uint8)
    points = generator.uniform(-60, 60, (35_000, 3))
    none = Boxes.from_arrays(np.zeros((0, 7)), np.zeros(0, int), spec)
    frames = []
    for index in range(4):
        sample = dataset[index]['data_samples']
        assert sample.gt_occ.shape == (200, 200, 16)
        sample.pred_occ = sample.gt_occ.roll(3, dims=0)
        sample.pred_flow = sample.gt_flow + 5
        record = dataset.get_data_info(index)
        _, rig = raw_views(record, sample)
        frames += 2 * [
            viewer_frame(sample, [photo] * 6, spec, rig, points, none)
        ]
    path = write_viewer(tmp_path / 'a.html', frames, spec)
    assert 2e6 < path.stat().st_size < 15e6
