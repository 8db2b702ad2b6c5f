"""Scalars, pictures and configs in TensorBoard, W&B and MLflow.

Nothing is sent anywhere: W&B works offline, MLflow on a file.
"""

import importlib
import json
import struct
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.registry import VISBACKENDS
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from occsplat.engine import load_config, vis_backends
from occsplat.structures import MissingPackageError

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'occupancy_configs' / 'fbocc' / 'fbocc-tiny_minitown.py'
PICTURE = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


@pytest.fixture
def tool(monkeypatch):
    """A function from a tool's name to its module."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    # another module has this name, too
    kept = {name: sys.modules.pop(name, None) for name in ('test', 'train')}
    yield importlib.import_module
    for name, module in kept.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def options(root, tmp_path, step, *more):
    return [
        '--cfg-options',
        f'data_root={root}/',
        'image_size=(96, 40)',
        'model.init_cfg=None',
        'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
        'test_dataloader.num_workers=0',
        # one name for each run in a process
        f'experiment_name={tmp_path.name}_{step}',
        *more,
    ]


@pytest.fixture
def coarse(monkeypatch):
    """Sheets with one ray for a pixel, which is enough here."""
    for name in ('input_sheet', 'sample_sheet'):
        # by name: the package's attribute is the function
        module = importlib.import_module(f'occsplat.visualization.{name}')
        draw = partial(module.render_occupancy, supersample=1)
        monkeypatch.setattr(module, 'render_occupancy', draw)


def test_a_training_reaches_tensorboard(
    tool, minitown_infos, tmp_path, coarse
):
    """With the option of docs/training.md."""
    place = ['--work-dir', str(tmp_path)]
    more = ['vis_backend=TensorboardVisBackend', 'max_epochs=1']
    more += ['default_hooks.sample_sheets.train_interval=3']
    more += ['default_hooks.sample_sheets.samples=2']
    more += ['default_hooks.logger.interval=2']
    train = options(minitown_infos, tmp_path, 'train', *more)
    tool('train').main([str(CONFIG), *place, *train])
    (events,) = tmp_path.glob('*/vis_data/events*')
    log = EventAccumulator(str(events), size_guidance=dict(images=0))
    log.Reload()
    tags = log.Tags()
    assert {e.step for e in log.Scalars('loss')} == {2, 4}
    assert [e.step for e in log.Scalars('RayIoU@1')] == [1]
    # what is written in the work dir, too
    (path,) = tmp_path.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert np.allclose([e.value for e in log.Scalars('loss')], losses)
    vals = [tag for tag in tags['images'] if tag != 'train_input']
    assert [e.step for e in log.Images('train_input')] == [0, 3]
    assert [tag.rpartition('_')[2] for tag in sorted(vals)] == [
        '000001',
        '000003',
    ]
    for tag in tags['images']:
        for event in log.Images(tag):
            assert event.width == 1920 and event.height > 400
            assert event.encoded_image_string.startswith(b'\x89PNG')
    (event,) = log.Images(vals[0])
    assert event.step == 4

    sheets = tmp_path / 'sheets'
    test = options(minitown_infos, tmp_path, 'test')
    tool('test').main(
        [str(CONFIG), str(tmp_path / 'epoch_1.pth'), *place]
        + ['--show-dir', str(sheets), *test]
    )
    names = sorted(path.name for path in sheets.iterdir())
    assert [name[-10:] for name in names] == [
        f'{index:06d}.png' for index in range(4)
    ]
    assert names[1] == f'{sorted(vals)[0].removeprefix("val_")}.png'


@pytest.fixture
def backend(tmp_path):
    """A function from a type to one, built as a Runner does."""
    # the backend for MLflow looks for files that it has closed
    MMLogger.get_instance(tmp_path.name)

    def build(kind, **arguments):
        with DefaultScope.overwrite_default_scope('mmdet3d'):
            return VISBACKENDS.build(
                dict(type=kind, save_dir=str(tmp_path / 'vis'), **arguments)
            )

    return build


@pytest.fixture
def cfg(tmp_path):
    """A config with a work dir that has a log."""
    cfg = load_config(CONFIG)
    cfg.work_dir = str(tmp_path / 'run')
    path = Path(cfg.work_dir) / 'a.log'
    path.parent.mkdir()
    path.write_text('a line')
    return cfg


def fill(backend, cfg):
    """What a training gives to a backend."""
    backend.add_config(cfg)
    for step in (50, 100):
        backend.add_scalars(dict(loss=1 / step, iter=step), step=step)
        backend.add_image('train_input', PICTURE, step=step)
    backend.add_scalars({'RayIoU@1': 0.25, 'mAVE': float('nan')}, step=1)
    backend.add_scalar('RayIoU@2', 0.5, step=1)
    backend.close()


def wandb_records(path):
    """What an offline run has kept: LevelDB's format of logs."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, b''
    while place < len(data):
        left = 32768 - place % 32768
        if left < 7:  # no room for a header: the block ends with zeros
            place += left
            continue
        size, kind = struct.unpack('<HB', data[place + 4 : place + 7])
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b''


def test_wandb_offline(backend, cfg, tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setenv('WANDB_DATA_DIR', str(tmp_path / 'data'))
    monkeypatch.setenv('WANDB_SILENT', 'true')
    # an environment in the current folder
    (tmp_path / '.venv').mkdir()
    (tmp_path / '.venv' / 'stranger.py').touch()
    monkeypatch.chdir(tmp_path)
    fill(backend('WandbVisBackend', init_kwargs=dict(project='occ')), cfg)

    (path,) = tmp_path.glob('vis/wandb/offline-run-*/*.wandb')
    values, told, files = [], set(), set()
    for record in wandb_records(path):
        if record.HasField('run'):
            assert record.run.project == 'occ'
            told |= {u.key for u in record.run.config.update}
        told |= {u.key for u in record.config.update}
        files |= {e.path for e in record.artifact.manifest.contents}
        items = record.history.item
        if items:
            values.append(
                {
                    (i.key or '.'.join(i.nested_key)): json.loads(i.value_json)
                    for i in items
                }
            )
    assert {'model', 'train_dataloader'} <= told
    assert [v['loss'] for v in values if 'loss' in v] == [0.02, 0.01]
    assert [v['RayIoU@1'] for v in values if 'RayIoU@1' in v] == [0.25]
    shown = [v for v in values if any('train_input' in key for key in v)]
    assert [v['iter'] for v in shown] == [50, 100]
    pictures = list(
        tmp_path.glob('vis/wandb/offline*/files/media/images/*.png')
    )
    assert len(pictures) == 2
    for path in pictures:
        with Image.open(path) as image:
            assert np.array_equal(np.array(image), PICTURE)
    assert 'engine/vis_backends.py' in files
    assert not any('stranger' in name for name in files)


def test_mlflow_on_a_file(backend, cfg, tmp_path, monkeypatch):
    mlflow = pytest.importorskip('mlflow')
    monkeypatch.chdir(tmp_path)
    uri = f'sqlite:///{tmp_path}/mlflow.db'
    monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    fill(backend('MLflowVisBackend', exp_name='occ', run_name='first'), cfg)

    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name('occ').experiment_id]
    )
    assert run.info.status == 'FINISHED'
    assert run.data.tags['mlflow.runName'] == 'first'
    assert run.data.params['model.type'] == 'OccDetector'
    history = client.get_metric_history(run.info.run_id, 'loss')
    assert [(m.step, m.value) for m in history] == [(50, 0.02), (100, 0.01)]
    assert run.data.metrics['RayIoU_1'] == 0.25
    assert run.data.metrics['RayIoU_2'] == 0.5
    names = [
        artifact.path
        for artifact in client.list_artifacts(run.info.run_id, 'images')
        if artifact.path.endswith('.png')
    ]
    assert len(names) == 2
    for name, step in zip(sorted(names, key=len), (50, 100)):
        assert 'train_input' in name and f'step+{step}+' in name
        path = client.download_artifacts(run.info.run_id, name)
        with Image.open(path) as image:
            assert np.array_equal(np.array(image), PICTURE)
    found = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {'config.py', 'a.log'} <= found


@pytest.mark.parametrize('package', ['wandb', 'mlflow'])
def test_a_missing_package_is_named_with_its_extra(
    backend, cfg, package, monkeypatch
):
    monkeypatch.setattr(vis_backends, 'find_spec', lambda name: None)
    kind = {'wandb': 'WandbVisBackend', 'mlflow': 'MLflowVisBackend'}[package]
    message = rf"{package} is not installed: .*'occsplat\[{package}\]'"
    with pytest.raises(MissingPackageError, match=message):
        backend(kind).add_config(cfg)
