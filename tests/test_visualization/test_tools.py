"""tools/visualize.py, infer.py and view.py on MiniTown."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from viewer_page import read_page

from occsplat.data.safe_pickle import load_plain
from occsplat.engine import (
    build_split,
    inference_occ,
    init_model,
    load_config,
)
from occsplat.visualization import drive, film
from occsplat.visualization.colors import BACKGROUND

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'occupancy_configs' / 'fbocc' / 'fbocc-tiny_minitown.py'


@pytest.fixture(scope='module')
def tools():
    """The tools' folder on the path, as when they are started."""
    sys.path.insert(0, str(ROOT / 'tools'))
    import infer
    import view
    import visualize

    yield dict(infer=infer, view=view, visualize=visualize)
    sys.path.remove(str(ROOT / 'tools'))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """An untrained network that sees a free world almost everywhere."""
    from mmengine.registry import MODELS

    torch.manual_seed(0)
    model = MODELS.build(load_config(CONFIG).model)
    with torch.no_grad():
        model.occ_head.occ_branch[-1].bias[-1] += 100
    path = tmp_path_factory.mktemp('checkpoint') / 'a.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def beside(info: dict, root: Path, folder: Path, layout: str) -> Path:
    """One key frame with its files on their own, labels left behind."""
    info = {k: v for k, v in info.items() if not k.endswith('_path')}
    files = [(c, v['img_path']) for c, v in info['images'].items()]
    files.append(('LIDAR_TOP', info['lidar_points']['lidar_path']))
    for channel, name in files:
        target = folder if layout == 'flat' else folder / 'samples' / channel
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / 'samples' / channel / name, target)
    path = folder / 'info.json'
    content = dict(metainfo=dict(categories=dict(car=0)), data_list=[info])
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize('layout', ['flat', 'samples'])
def test_infer_needs_no_labels(
    tools, checkpoint, minitown_infos, tmp_path, layout
):
    infos = load_plain(minitown_infos / 'occsplat_infos_val.pkl')
    info = infos['data_list'][1]
    frame = beside(info, minitown_infos, tmp_path / 'frame', layout)
    out = tmp_path / 'out'
    command = [str(CONFIG), checkpoint, '--info', str(frame)]
    (path,) = tools['infer'].main(
        [*command, '--out', str(out), '--device', 'cpu']
    )
    assert path == out / f'{info["token"]}.png'
    with Image.open(path) as sheet:
        assert sheet.size[0] == 1920
    volume = np.load(path.with_suffix('.npz'))
    assert volume['semantics'].shape == (100, 100, 8)
    assert volume['flow'].shape == (100, 100, 8, 2)
    names = {p.name for p in out.iterdir()}
    assert names == {f'{info["token"]}.png', f'{info["token"]}.npz'}
    # from Python: the info file, and a packed sample of the data set
    model = init_model(CONFIG, checkpoint)
    assert not model.training and model.cfg.model.type == 'OccDetector'
    (sample,) = inference_occ(model, frame)
    assert sample.token == info['token']
    assert np.array_equal(sample.pred_occ.numpy(), volume['semantics'])
    split = build_split(
        load_config(CONFIG, {'data_root': f'{minitown_infos}/'}), 'val'
    )
    (again,) = inference_occ(init_model(CONFIG, checkpoint), [split[1]])
    assert torch.equal(again.pred_occ, sample.pred_occ)


def test_view_shows_a_frame_without_labels(
    tools, checkpoint, minitown_infos, tmp_path
):
    infos = load_plain(minitown_infos / 'occsplat_infos_val.pkl')
    info = infos['data_list'][1]
    frame = beside(info, minitown_infos, tmp_path / 'frame', 'flat')
    command = [str(CONFIG), checkpoint, '--info', str(frame)]
    command += ['--out', str(tmp_path / 'a.html'), '--device', 'cpu']
    page = tools['view'].main(command)
    _, (content,) = read_page(page)
    assert set(content['pictures']) == {'photo', 'prediction'}
    arrays = content['arrays']
    (sample,) = inference_occ(init_model(CONFIG, checkpoint), frame)
    assert np.array_equal(arrays['prediction'], sample.pred_occ)
    assert 'truth' not in arrays and len(arrays['points']) > 1000
    del command[1]
    with pytest.raises(SystemExit, match='no labels to show: give a check'):
        tools['view'].main(command)


def test_infer_with_five_cameras(tools, checkpoint, minitown_infos, tmp_path):
    info = load_plain(minitown_infos / 'occsplat_infos_val.pkl')
    info = info['data_list'][0]
    names = [name for name in info['images'] if name != 'CAM_FRONT']
    del info['images']['CAM_FRONT']
    frame = beside(info, minitown_infos, tmp_path / 'frame', 'flat')
    command = [str(CONFIG), checkpoint, '--info', str(frame)]
    command += ['--out', str(tmp_path / 'out'), '--device', 'cpu']
    with pytest.raises(SystemExit, match=r'no camera CAM_FRONT.*cameras='):
        tools['infer'].main(command)
    cameras = f'test_dataloader.dataset.cameras=[{",".join(names)}]'
    (path,) = tools['infer'].main([*command, '--cfg-options', cameras])
    assert path.is_file()


@pytest.mark.parametrize(
    'change, match',
    [
        (dict(token='../../stranger'), 'token is .*without slashes'),
        (dict(timestamp=float('nan')), 'timestamp is nan'),
        (dict(ego2global=None), 'ego2global'),
        (dict(instances=[{}]), "no usable field 'bbox_3d'"),
    ],
)
def test_the_info_file_of_a_stranger(
    tools, checkpoint, minitown_infos, tmp_path, change, match
):
    infos = load_plain(minitown_infos / 'occsplat_infos_val.pkl')
    info = {**infos['data_list'][0], **change}
    frame = beside(info, minitown_infos, tmp_path / 'frame', 'flat')
    command = [str(CONFIG), checkpoint, '--info', str(frame)]
    with pytest.raises(SystemExit, match=f'error: {frame}: .*{match}') as stop:
        tools['infer'].main([*command, '--out', str(tmp_path / 'out')])
    assert '\n' not in stop.value.code
    assert not (tmp_path / 'out').exists()
    assert not list(tmp_path.glob('*.npz'))


def test_visualize_draws_frames_in_order_and_a_film(
    tools, checkpoint, minitown_infos, tmp_path, monkeypatch
):
    monkeypatch.setattr(film, 'PICTURES', 4)
    root = f'val_dataloader.dataset.data_root={minitown_infos}'
    command = [str(CONFIG), checkpoint, '--out', str(tmp_path)]
    command += ['--frames', '2', '--device', 'cpu', '--cfg-options', root]
    sheets = tools['visualize'].main(command)
    paths = tools['visualize'].main(['--gif', *command])
    infos = load_plain(minitown_infos / 'occsplat_infos_val.pkl')
    scene = infos['data_list'][0]['scene_name']
    assert [p.name for p in paths] == [
        f'{scene}_000.png',
        f'{scene}_001.png',
        f'{scene}.gif',
    ]
    assert sheets == paths[:2]
    with Image.open(paths[-1]) as gif:
        assert gif.n_frames == 4
        assert gif.info['duration'] == 120  # ten milliseconds a unit


def test_visualize_makes_films_as_long_as_the_drive(
    tools, checkpoint, minitown_infos, tmp_path, monkeypatch
):
    ffmpeg = pytest.importorskip(
        'imageio_ffmpeg', reason="needs the extra: pip install '.[video]'"
    )
    monkeypatch.setattr(drive, 'PER_KEY_FRAME', 2)
    root = f'val_dataloader.dataset.data_root={minitown_infos}'
    command = [str(CONFIG), checkpoint, '--out', str(tmp_path)]
    command += ['--frames', '3', '--device', 'cpu', '--cfg-options', root]
    paths = tools['visualize'].main(['--mp4', '--fly', *command])
    scene = paths[0].name.removesuffix('_000.png')
    names = [f'{scene}.mp4', f'{scene}_fly.mp4']
    assert [path.name for path in paths[3:]] == names
    # three key frames, half a second each; one second between them
    counted = [ffmpeg.count_frames_and_secs(path) for path in paths[3:]]
    assert counted == [(6, 1.5), (16, 1.0)]
    reader = ffmpeg.read_frames(paths[3])
    width, height = next(reader)['size']
    assert width == 1600 and height % 2 == 0
    # all voxels of the prediction are free, those of the truth are not
    first = np.frombuffer(next(reader), np.uint8).reshape(height, width, 3)
    volumes = first[-420:-100, 20:440], first[-420:-100, 470:890]
    empty = [
        (np.abs(part.astype(int) - BACKGROUND).max(axis=-1) < 12).mean()
        for part in volumes
    ]
    assert empty[0] > 0.9 and empty[1] < 0.5


def test_visualize_says_at_once_that_a_film_needs_the_extra(
    tools, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
    command = [str(CONFIG), checkpoint, '--out', str(tmp_path / 'out')]
    for kind in ('--mp4', '--fly'):
        with pytest.raises(SystemExit, match=r'occsplat\[video\]') as stop:
            tools['visualize'].main([*command, kind])
        assert '\n' not in stop.value.code


def test_visualize_tells_towns_apart(
    tools, checkpoint, minitown_infos, other_minitown, tmp_path
):
    """Scenes of all towns have the same names."""
    town, other = (
        load_plain(root / 'occsplat_infos_train.pkl')['data_list'][0]
        for root in (minitown_infos, other_minitown)
    )
    assert town['scene_name'] == other['scene_name'] == 'scene-0061'
    roots = f'[{minitown_infos},{other_minitown}]'
    paths = tools['visualize'].main(
        [str(CONFIG), checkpoint, '--out', str(tmp_path), '--device', 'cpu']
        + ['--split', 'train', '--frames', '6', '--cfg-options']
        + [f'train_dataloader.dataset.data_root={roots}']
    )
    second = f'scene-0061_{other["scene_token"]}'
    assert [path.name for path in paths] == [
        *(f'scene-0061_{k:03d}.png' for k in range(4)),
        *(f'{second}_{k:03d}.png' for k in range(2)),
    ]


def test_mistakes_end_with_one_line(tools, checkpoint, tmp_path, capsys):
    out = ['--out', str(tmp_path / 'out')]
    with pytest.raises(SystemExit, match='none.pth does not exist'):
        tools['visualize'].main([str(CONFIG), 'none.pth', *out])
    with pytest.raises(SystemExit):
        tools['visualize'].main(
            [str(CONFIG), checkpoint, *out, '--frames', '0']
        )
    assert '--frames: must be >= 1, got 0' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='none.json does not exist'):
        tools['infer'].main(
            [str(CONFIG), checkpoint, *out, '--info', 'none.json']
        )
    bad = tmp_path / 'bad.json'
    bad.write_text('{"other": 1}')
    with pytest.raises(SystemExit, match='expected a dict with metainfo'):
        tools['infer'].main(
            [str(CONFIG), checkpoint, *out, '--info', str(bad)]
        )
    assert not (tmp_path / 'out').exists()
