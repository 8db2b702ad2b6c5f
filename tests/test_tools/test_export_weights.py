"""tools/export_weights.py keeps what prediction needs, and whence it is."""

import json
from pathlib import Path

import pytest
import torch

from occsplat.engine import load_config, load_model_weights, read_weights

ROOT = Path(__file__).resolve().parents[2]
CONFIG = (
    ROOT / 'occupancy_configs/gsrender/gsrender-2f_bevstereo-tiny_minitown.py'
)


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import export_weights

    return export_weights


@pytest.fixture
def checkpoint(tmp_path):
    """As training leaves one, with weights of a render head."""
    state = {
        'neck.weight': torch.tensor([1e-3, 2.0, 70_000.0]),
        'neck.bias': torch.tensor([0.1, 0.2]),
        'neck.broken': torch.tensor([float('inf'), 1.0]),
        'neck.steps': torch.tensor(70_000),
        'render_heads.0.weight': torch.rand(4),
    }
    meta = dict(
        epoch=5,
        seed=3,
        cfg='import os',
        experiment_name='a-config_20260102_030405',
        dataset_meta=dict(classes=('car', 'free'), palette=((1, 2, 3),) * 2),
        opacity_threshold=0.25,
        run_state=dict(tag='x'),
    )
    path = tmp_path / 'run' / 'epoch_5.pth'
    path.parent.mkdir()
    torch.save(dict(state_dict=state, meta=meta, optimizer={}), path)
    return path


def export(tool, checkpoint, *options):
    out = checkpoint.parent / 'new' / 'a.safetensors'
    tool.main([str(checkpoint), '--out', str(out), *options])
    return read_weights(out)


def test_inference_weights_and_where_they_are_from(tool, checkpoint, capsys):
    (checkpoint.parent / 'metrics.json').write_text(
        json.dumps(
            dict(checkpoint=f'x/{checkpoint.name}', metrics=dict(mIoU=0.5))
        )
    )
    found = export(tool, checkpoint)
    saved = torch.load(checkpoint)['state_dict']
    del saved['render_heads.0.weight']
    assert found['state_dict'].keys() == saved.keys()
    for key, value in found['state_dict'].items():
        assert torch.equal(value, saved[key]) and value.dtype is (
            saved[key].dtype
        )
    assert found.keys() == {'state_dict', 'meta'}
    meta = found['meta']
    assert meta['config'] == 'a-config' and meta['seed'] == 3
    assert meta['dataset_meta']['classes'] == ['car', 'free']
    assert meta['opacity_threshold'] == 0.25
    assert meta['metrics'] == dict(mIoU=0.5)
    assert meta['command'].startswith(f'tools/export_weights.py {checkpoint}')
    assert not {'cfg', 'run_state'} & meta.keys()
    commit = tool.commit_here()
    assert meta.get('commit') == commit
    assert commit is None or len(commit) == 40
    assert '1 left out, of use in training alone' in capsys.readouterr().out


def test_half(tool, checkpoint, capsys):
    found = export(tool, checkpoint, '--half')['state_dict']
    kinds = {key.partition('.')[2]: v.dtype for key, v in found.items()}
    assert kinds == dict(
        weight=torch.float32,  # 70,000 is more than float16 has
        bias=torch.float16,
        broken=torch.float16,
        steps=torch.int64,
    )
    assert found['neck.weight'][2] == 70_000
    assert '1 too large for 16 bits' in capsys.readouterr().out


def test_scores_of_another_checkpoint_are_left_out(tool, checkpoint, capsys):
    path = checkpoint.parent / 'metrics.json'
    path.write_text(json.dumps(dict(checkpoint='epoch_4.pth', metrics={})))
    assert 'metrics' not in export(tool, checkpoint)['meta']
    assert 'is of epoch_4.pth' in capsys.readouterr().out
    path.write_text('[]')
    with pytest.raises(SystemExit, match=r'is no file of tools/test\.py'):
        export(tool, checkpoint)


def test_exported_again_nothing_is_lost(tool, checkpoint):
    first = export(tool, checkpoint)
    path = checkpoint.parent / 'new' / 'a.safetensors'
    again = export(tool, path)
    del first['meta']['command'], again['meta']['command']
    assert first['meta'] == again['meta']


def test_mistakes_end_with_one_line(tool, checkpoint, tmp_path):
    with pytest.raises(SystemExit, match='ends with .safetensors, got a.pth'):
        tool.main([str(checkpoint), '--out', 'a.pth'])
    with pytest.raises(SystemExit, match='none.pth does not exist'):
        tool.main(['none.pth', '--out', str(tmp_path / 'a.safetensors')])
    assert not (tmp_path / 'a.safetensors').exists()


def test_a_method_predicts_the_same_from_it(tool, tmp_path):
    """Every weight of a network arrives, but for the render heads'."""
    from mmengine.registry import MODELS

    cfg = load_config(CONFIG)
    torch.manual_seed(0)
    trained, fresh = MODELS.build(cfg.model), MODELS.build(cfg.model)
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=trained.state_dict()), path)
    out = tool.main([str(path), '--out', str(tmp_path / 'a.safetensors')])
    load_model_weights(fresh, out)
    for key, value in trained.state_dict().items():
        if not key.startswith('render_heads.'):
            assert torch.equal(fresh.state_dict()[key], value), key
