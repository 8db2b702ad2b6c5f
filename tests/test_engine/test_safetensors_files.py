"""Weights as safetensors: the same door, damage told in one line."""

import json
import random
import stat
import struct

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from occsplat.engine import (
    CheckpointError,
    load_model_weights,
    read_checkpoint,
    read_weights,
    update_meta,
    write_safetensors,
)


def model(seed=0):
    torch.manual_seed(seed)
    net = nn.Module()
    net.layer = nn.Linear(2, 3)
    net.norm = nn.BatchNorm1d(3)
    return net


def file_of(header, data=b''):
    """A file by hand; the header is JSON or bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(raw)) + raw + data


def tensor(dtype='F32', shape=(1,), start=0, stop=4):
    return dict(dtype=dtype, shape=list(shape), data_offsets=[start, stop])


def test_weights_and_meta_come_back(tmp_path):
    source, target = model(0), model(1)
    meta = dict(epoch=3, dataset_meta=dict(classes=['car', 'free']))
    path = tmp_path / 'a.safetensors'
    write_safetensors(path, source.state_dict(), meta)
    assert load_model_weights(target, path) == meta
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key
    # others may read it as they may read any file
    (tmp_path / 'b').touch()
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (path, tmp_path / 'b')]
    assert modes[0] == modes[1]


def test_the_same_weights_are_the_same_bytes(tmp_path):
    paths = [tmp_path / f'{n}.safetensors' for n in range(3)]
    for path in paths:
        write_safetensors(path, model().state_dict(), dict(b=1, a=2, c=3))
    assert len({path.read_bytes() for path in paths}) == 1


def test_half_becomes_the_dtype_of_the_model(tmp_path):
    source, target = model(0), model(1)
    half = {
        k: v.half() if v.is_floating_point() else v
        for k, v in source.state_dict().items()
    }
    write_safetensors(tmp_path / 'a.safetensors', half, {})
    load_model_weights(target, tmp_path / 'a.safetensors')
    for key, value in target.state_dict().items():
        assert value.dtype == source.state_dict()[key].dtype
        assert torch.equal(value, half[key].to(value.dtype)), key
    assert target.norm.num_batches_tracked.dtype == torch.int64


def test_views_and_shared_memory_are_written(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    weights = dict(a=whole, b=whole[1:], c=whole.t(), d=torch.tensor(2.0))
    write_safetensors(tmp_path / 'a.safetensors', weights, {})
    back = read_weights(tmp_path / 'a.safetensors')['state_dict']
    assert all(torch.equal(back[key], weights[key]) for key in weights)
    # memory of its own: the file may be replaced
    write_safetensors(tmp_path / 'a.safetensors', dict(a=-whole), {})
    assert torch.equal(back['a'], whole)


def test_pretrained_takes_one(tmp_path):
    write_safetensors(
        tmp_path / 'a.safetensors', nn.Linear(2, 3).state_dict(), {}
    )

    class Part(BaseModule):
        def __init__(self):
            path = str(tmp_path / 'a.safetensors')
            super().__init__(dict(type='Pretrained', checkpoint=path))
            self.weight = nn.Parameter(torch.zeros(3, 2))
            self.bias = nn.Parameter(torch.zeros(3))

    part = Part()
    part.init_weights()
    stored = read_weights(tmp_path / 'a.safetensors')['state_dict']
    assert torch.equal(part.weight, stored['weight'])


def test_meta_is_updated_and_the_format_stays(tmp_path):
    path = tmp_path / 'a.safetensors'
    write_safetensors(path, model().state_dict(), dict(epoch=3))
    update_meta(path, dict(opacity_threshold=0.25))
    assert b'"occsplat"' in path.read_bytes()[:100]
    found = read_weights(path)
    assert found['meta'] == dict(epoch=3, opacity_threshold=0.25)
    assert torch.equal(
        found['state_dict']['layer.weight'], model().layer.weight
    )


def test_files_of_others(tmp_path):
    """Text of theirs is no meta; the file's name does not matter."""
    header = dict(__metadata__=dict(format='pt', epoch='3'), weight=tensor())
    raw = file_of(header, struct.pack('<f', 2.5))
    (tmp_path / 'a.pth').write_bytes(raw)
    found = read_weights(tmp_path / 'a.pth')
    assert found['meta'] == {}
    assert found['state_dict']['weight'].item() == 2.5


HUGE = 1 << 40
DAMAGED = {
    'cut': file_of(dict(a=tensor()))[:20],
    'without its bytes': file_of(dict(a=tensor())),
    'more than there is': file_of(
        dict(a=tensor(shape=[HUGE], stop=4 * HUGE)), bytes(4)
    ),
    'sizes that overflow': file_of(
        dict(a=tensor(shape=[1 << 33, 1 << 31], stop=0))
    ),
    'a size below zero': file_of(dict(a=tensor(shape=[-1])), bytes(4)),
    'two in one place': file_of(dict(a=tensor(), b=tensor()), bytes(4)),
    'bytes of nobody': file_of(dict(a=tensor()), bytes(8)),
    'outside': file_of(dict(a=tensor(start=4, stop=8)), bytes(4)),
    'another shape': file_of(dict(a=tensor(shape=[2])), bytes(4)),
    'a long header': struct.pack('<Q', HUGE - 1) + b'{}',
    'a deep header': file_of(b'{"a":' + b'[' * 5000),
    'no header': file_of(b'{]'),
    'numbers of 4 bits': file_of(dict(a=tensor('F4', [2], stop=1)), bytes(1)),
    'a bool of another byte': file_of(
        dict(a=tensor('BOOL', [2], stop=2)), b'\1\2'
    ),
    'unknown numbers': file_of(dict(a=tensor('X9')), bytes(4)),
    'meta that is no JSON': file_of(
        dict(__metadata__=dict(occsplat='{'), a=tensor()), bytes(4)
    ),
    'meta without end': file_of(
        dict(__metadata__=dict(occsplat='[' * 99_999), a=tensor()), bytes(4)
    ),
}


@pytest.mark.parametrize('case', DAMAGED)
def test_what_cannot_be_is_damaged(tmp_path, case):
    path = tmp_path / 'a.safetensors'
    path.write_bytes(DAMAGED[case])
    with pytest.raises(CheckpointError, match=r'a\.safetensors is dam') as e:
        read_checkpoint(path)
    assert str(e.value).isprintable()


def test_meta_of_another_kind_is_refused(tmp_path):
    path = tmp_path / 'a.safetensors'
    header = dict(__metadata__=dict(occsplat='[1]'), a=tensor())
    path.write_bytes(file_of(header, bytes(4)))
    with pytest.raises(CheckpointError, match='expected a dict as meta'):
        read_weights(path)
    path.write_bytes(file_of({}))
    with pytest.raises(CheckpointError, match='has no weights'):
        read_weights(path)


def test_damage_of_all_kinds_is_one_line(tmp_path):
    path = tmp_path / 'a.safetensors'
    write_safetensors(path, model().state_dict(), dict(epoch=3))
    whole, draw, refused = path.read_bytes(), random.Random(0), 0
    for turn in range(200):
        raw = bytearray(whole)
        at = draw.randrange(len(raw) if turn % 2 else 500)
        if turn % 4 < 2:
            raw[at] = draw.randrange(256)
        else:
            del raw[at : at + draw.randrange(1, 99)]
        path.write_bytes(raw)
        try:
            load_model_weights(model(), path)
        except CheckpointError as error:
            refused += 1
            text = str(error)
            assert 'a.safetensors' in text and text.isprintable(), text
    assert refused > 100


def test_a_missing_file_is_told_what_is_there(tmp_path):
    write_safetensors(tmp_path / 'b.safetensors', {}, {})
    with pytest.raises(CheckpointError, match=r'has b\.safetensors'):
        read_checkpoint(tmp_path / 'a.safetensors')
