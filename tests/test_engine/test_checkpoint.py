"""Weights are loaded whole, safely, and into their own model only."""

import os

import pytest
import torch
from torch import nn

from occsplat.engine import (
    CheckpointError,
    latest_checkpoint,
    load_model_weights,
    read_checkpoint,
)


def small_model(width=3):
    model = nn.Module()
    model.layer = nn.Linear(2, width)
    model.norm = nn.BatchNorm1d(width)
    return model


def save(model, path, **more):
    torch.save(dict(state_dict=model.state_dict(), meta={}, **more), path)
    return path


def test_loads_every_weight_and_returns_meta(tmp_path):
    source, target = small_model(), small_model()
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=source.state_dict(), meta=dict(epoch=7)), path)
    assert load_model_weights(target, path) == dict(epoch=7)
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


@pytest.mark.parametrize('prefix', ['', 'module.', 'model.', 'model.module.'])
@pytest.mark.parametrize('keys', [[], ['model'], ['model', 'state_dict']])
def test_loads_state_dicts_of_all_layouts(tmp_path, prefix, keys):
    source, target = small_model(), small_model()
    state = {prefix + k: v for k, v in source.state_dict().items()}
    for key in keys:
        state = {'epoch': 3, key: state}
    torch.save(state, tmp_path / 'a.pth')
    assert load_model_weights(target, tmp_path / 'a.pth') == {}
    assert torch.equal(target.layer.weight, source.layer.weight)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([torch.zeros(1)], 'expected a dict of weights, got list'),
        (dict(epoch=3, args={}), "has no weights.*'epoch', 'args'"),
        (dict(model=dict(model={})), "has no weights.*'model'"),
        ({1: torch.zeros(1)}, 'expected names of weights, got a int'),
        (dict(model=dict(a=torch.zeros(1)), meta=3), 'a dict as meta'),
    ],
)
def test_files_without_weights_say_what_they_have(tmp_path, content, message):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=rf'a\.pth.*{message}'):
        load_model_weights(small_model(), tmp_path / 'a.pth')


def test_takes_the_averaged_weights(tmp_path):
    averaged, raw, target = small_model(), small_model(), small_model()
    ema = {f'module.{k}': v for k, v in raw.state_dict().items()}
    path = save(averaged, tmp_path / 'a.pth', ema_state_dict=ema)
    load_model_weights(target, path)
    assert torch.equal(target.layer.weight, averaged.layer.weight)


def test_render_heads_may_be_on_either_side(tmp_path):
    plain, method = small_model(), small_model()
    method.render_heads = nn.ModuleList([nn.Linear(1, 1)])
    load_model_weights(plain, save(method, tmp_path / 'method.pth'))
    assert torch.equal(plain.layer.weight, method.layer.weight)
    load_model_weights(method, save(small_model(), tmp_path / 'plain.pth'))


def test_refuses_another_model_and_changes_nothing(tmp_path):
    other = small_model(width=4)
    other.extra = nn.Linear(1, 1)
    del other.norm
    target = small_model()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_model_weights(target, save(other, tmp_path / 'a.pth'))
    text = str(error.value)
    assert '5 missing (norm.bias, norm.num_batches_tracked' in text
    assert '2 unexpected (extra.bias, extra.weight)' in text
    assert 'layer.bias (4,) instead of (3,)' in text
    for key, value in target.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    with pytest.raises(CheckpointError, match=r'not exist.*epoch_2\.pth'):
        read_checkpoint(tmp_path / 'epoch_3.pth')
    with pytest.raises(CheckpointError, match='no folder'):
        read_checkpoint(tmp_path / 'nowhere' / 'epoch_3.pth')


def test_half_a_checkpoint_is_damaged(tmp_path):
    path = save(small_model(), tmp_path / 'a.pth')
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r'a\.pth.*damaged'):
        read_checkpoint(path)


@pytest.mark.parametrize('content', [b'', b'not a checkpoint'])
def test_other_files_are_no_checkpoints(tmp_path, content):
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=r'a\.pth'):
        read_checkpoint(tmp_path / 'a.pth')


class Runs:
    """Would create a file while it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_never_runs_code(tmp_path):
    torch.save(dict(state_dict=Runs(tmp_path / 'ran')), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='not safe to load'):
        read_checkpoint(tmp_path / 'a.pth')
    assert not (tmp_path / 'ran').exists()


def test_latest_follows_the_pointer_even_when_moved(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    (tmp_path / 'epoch_2.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/old/place/epoch_1.pth')
    assert latest_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'


@pytest.mark.parametrize('pointer', [None, '', '/gone/epoch_99.pth'])
def test_latest_without_a_usable_pointer(tmp_path, pointer):
    for name in ('epoch_2.pth', 'epoch_10.pth', 'best_RayIoU_epoch_11.pth'):
        (tmp_path / name).touch()
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer)
    assert latest_checkpoint(tmp_path) == tmp_path / 'epoch_10.pth'


def test_latest_of_nothing(tmp_path):
    assert latest_checkpoint(tmp_path) is None
