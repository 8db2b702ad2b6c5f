"""Files of torch.save come back; nothing in a stranger's file acts."""

import collections
import io
import multiprocessing
import os
import pickle
import random
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from occsplat.engine import CheckpointError
from occsplat.engine.weight_files import read_weight_file

FORMATS = [
    dict(),
    dict(pickle_protocol=4),
    dict(pickle_protocol=5),
    dict(_use_new_zipfile_serialization=False),
]


def contents():
    """All that checkpoints hold."""
    torch.manual_seed(0)
    log = HistoryBuffer()
    log.update(1.0)
    log.update(2.0)
    typed = torch.rand(3)
    typed.note = 'an attribute'
    kinds = (torch.uint8, torch.int16, torch.float16, torch.bfloat16)
    kinds += (torch.bool, torch.complex64, torch.float64, torch.int64)
    return dict(
        weights=nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict(),
        tensors=[torch.ones(3).to(kind) for kind in kinds],
        views=[
            torch.rand(3, 4).t(),
            torch.ones(1).expand(5),
            torch.zeros(0, 3),
            torch.tensor(2.0),
            typed,
        ],
        parameter=nn.Parameter(torch.rand(2)),
        arrays=[np.arange(5).astype(k) for k in '?bBhHiIlLefdFD'],
        numbers=[np.float64(3), np.int8(2), np.bool_(True), 1 << 100, 1 + 2j],
        log=log,
        plain=[None, True, 'text', b'bytes', bytearray(b'more'), {1, 2}],
        counts=collections.Counter([1, 2, 2]),
        of_torch=[torch.Size([1, 2]), torch.device('cpu'), torch.float16],
        nested=((1, (2,)), frozenset([3]), collections.OrderedDict(a=1)),
    )


def assert_same(one, two):
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype and torch.equal(one, two)
    elif isinstance(one, np.ndarray):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    elif isinstance(one, HistoryBuffer):
        assert_same(one.data, two.data)
        assert one.max_length == two.max_length
        assert two.statistics('mean') == 1.5
    elif isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for a, b in zip(one, two):
            assert_same(a, b)
    else:
        assert one == two


@pytest.mark.parametrize('form', FORMATS)
def test_what_was_saved_comes_back(tmp_path, form):
    saved = contents()
    torch.save(saved, tmp_path / 'a.pth', **form)
    back = read_weight_file(tmp_path / 'a.pth')
    assert_same(saved, back)
    assert back['weights']._metadata == saved['weights']._metadata


@pytest.mark.parametrize('form', FORMATS)
def test_shared_memory_is_shared_again(tmp_path, form):
    whole = torch.arange(6.0)
    torch.save([whole, whole[2:4]], tmp_path / 'a.pth', **form)
    back, part = read_weight_file(tmp_path / 'a.pth')
    part.fill_(9)
    assert back.tolist() == [0, 1, 9, 9, 4, 5]


def test_numbers_of_other_bits(tmp_path):
    for dtype in (torch.uint16, torch.uint64, torch.float8_e4m3fn):
        torch.save(torch.ones(3).to(dtype), tmp_path / 'a.pth')
        back = read_weight_file(tmp_path / 'a.pth')
        assert back.dtype == dtype and back.float().tolist() == [1, 1, 1]


# ------------------------------------------------------- hostile pickles


def part(value):
    """A value inside a pickle."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol=2)
    pickler.fast = True
    pickler.dump(value)
    return out.getvalue()[2:-1]


def name(module, attribute):
    return f'c{module}\n{attribute}\n'.encode()


def call(function, *args):
    return function + b'(' + b''.join(args) + b'tR'


def entry(value):
    """A dict with the value at ['meta']."""
    return b'}' + part('meta') + value + b's'


def write(path, program, records=None):
    """A checkpoint of a pickle and records of bytes."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02' + program + b'.')
        for key, raw in (records or {}).items():
            archive.writestr(f'archive/data/{key}', raw)
    return path


def storage(kind='FloatStorage', key='0', numel=4):
    pid = b'(' + part('storage') + name('torch', kind)
    return pid + part(key) + part('cpu') + part(numel) + b'tQ'


def tensor(offset=0, size=(4,), stride=(1,), **of):
    return call(
        name('torch._utils', '_rebuild_tensor_v2'),
        storage(**of),
        part(offset),
        part(size),
        part(stride),
        part(False),
        call(name('collections', 'OrderedDict')),
    )


NDARRAY = name('numpy', 'ndarray')
HISTORY = name('mmengine.logging.history_buffer', 'HistoryBuffer')
ADDRESSES = call(NDARRAY, part((1,)), part('O'), part(b'AAAAAAAA'))
BYTES = {'0': bytes(16)}

#: what is refused, and the word that names it
REFUSED = {
    'a call': (call(name('os', 'mkdir'), part('trace')), 'os.mkdir'),
    'eval': (call(name('builtins', 'eval'), part('1')), 'builtins.eval'),
    'a class': (name('torch.nn.modules.linear', 'Linear'), 'Linear'),
    'addresses as objects': (ADDRESSES, 'numpy.ndarray'),
    'memory not filled': (
        call(NDARRAY, part((64,)), part('u8')),
        'numpy.ndarray',
    ),
    'tensors not filled': (
        call(name('torch', 'FloatTensor'), part(64)),
        'torch.FloatTensor',
    ),
    'storages not filled': (
        call(name('torch.storage', 'UntypedStorage'), part(64)),
        'a dtype',
    ),
    'a class to call': (
        call(name('torch', 'Tensor'), part(64)),
        'torch.Tensor',
    ),
    'log of addresses': (call(HISTORY, ADDRESSES, ADDRESSES), 'ndarray'),
    'table of a class': (
        call(HISTORY) + part(dict(statistics_methods=dict(mean=5))) + b'b',
        'HistoryBuffer',
    ),
    'attributes of a class': (
        HISTORY + part((None, dict(_statistics_methods={}))) + b'b',
        'HistoryBuffer',
    ),
    'getattr': (
        call(name('__builtin__', 'getattr'), NDARRAY, part('tofile')),
        'getattr of numpy.ndarray',
    ),
    'an array set twice': (
        call(
            name('numpy.core.multiarray', '_reconstruct'),
            NDARRAY,
            part((0,)),
            part(b'b'),
        )
        + part((1, (1,), 'O8', False, b'AAAAAAAA'))
        + b'b',
        "an array of 'O8'",
    ),
    'sparse': (
        call(name('torch._utils', '_rebuild_sparse_tensor'), part(1)),
        '_rebuild_sparse_tensor',
    ),
    'quantized': (
        call(name('torch._utils', '_rebuild_qtensor'), part(1)),
        '_rebuild_qtensor',
    ),
    'bare storage': (storage(), 'a Storage'),
    'state of a tensor': (
        tensor() + part(dict(grad=1)) + b'b',
        'state for a Tensor',
    ),
    'too much memory': (
        call(name('__builtin__', 'bytearray'), part(1 << 40)),
        'bytes of a int',
    ),
    'a long number': (part(1 << 9999), 'a number of 10000 bits'),
    'deep': (part([]) * 200 + b'a' * 199, '100 nested containers'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused_is_named_with_its_place(tmp_path, case):
    program, what = REFUSED[case]
    before = dict(HistoryBuffer._statistics_methods)
    path = write(tmp_path / 'a.pth', entry(program), BYTES)
    with pytest.raises(CheckpointError, match='not safe to load') as error:
        read_weight_file(path)
    text = str(error.value)
    assert what in text and "at ['meta']" in text and 'a.pth' in text
    assert 'weights_only' not in text and '\n' not in text
    assert HistoryBuffer._statistics_methods == before
    assert not (tmp_path / 'trace').exists()


def test_what_the_file_throws_away_is_refused_too(tmp_path):
    program = call(name('os', 'mkdir'), part('trace')) + b'0' + part({})
    with pytest.raises(CheckpointError, match=r'os\.mkdir.*throws away'):
        read_weight_file(write(tmp_path / 'a.pth', program))


def test_the_place_is_that_in_the_file(tmp_path):
    content = dict(meta=dict(args=[1, dict(a=slice(3))]), state_dict={})
    torch.save(content, tmp_path / 'a.pth', pickle_protocol=4)
    with pytest.raises(CheckpointError) as error:
        read_weight_file(tmp_path / 'a.pth')
    assert "builtins.slice at ['meta']['args'][1]['a']" in str(error.value)


DAMAGED = {
    'beyond its bytes': tensor(size=(1 << 40,)),
    'a little beyond': tensor(offset=1),
    'by strides': tensor(size=(2,), stride=(4,)),
    'backwards': tensor(stride=(-1,)),
    'repeated without end': tensor(size=(1 << 40,), stride=(0,)),
    'empty without end': tensor(size=(0, 1 << 62), stride=(1, 1)),
    'more numbers than bytes': tensor(numel=1 << 40),
    'fewer numbers': tensor(numel=1, size=(1,)),
    'other numbers': tensor(kind='DoubleStorage'),
    'no record': tensor(key='9'),
    'sizes of text': tensor(size=('4',)),
    'a kind that is none': tensor(kind='QInt8Storage'),
    'a hash without end': (b'}' + b')' + b'\x85' * 150_000 + part(1) + b's'),
    'a number of a process': b'\x82\x01',
    'nothing on the stack': b'0' * 9,
    'an unknown operation': b'\xff',
    'text without end': b'X\xff\xff\xff\xff',
}


@pytest.mark.parametrize('case', DAMAGED)
def test_what_cannot_be_is_damaged(tmp_path, case):
    path = write(tmp_path / 'a.pth', entry(DAMAGED[case]), BYTES)
    with pytest.raises(CheckpointError, match=r'a\.pth is'):
        read_weight_file(path)


def test_a_bool_of_another_byte_is_damaged(tmp_path):
    program = entry(tensor(kind='BoolStorage'))
    for raw, whole in ((b'\0\1\1\0', True), (b'\0\2\1\0', False)):
        path = write(tmp_path / 'a.pth', program, {'0': raw})
        if whole:
            assert read_weight_file(path)['meta'].tolist() == [0, 1, 1, 0]
            continue
        with pytest.raises(CheckpointError, match='neither 0 nor 1'):
            read_weight_file(path)


def test_records_are_not_unpacked_and_not_read_without_end(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.zeros(1000)), path)
    with zipfile.ZipFile(path) as old:
        records = {n: old.read(n) for n in old.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as new:
        for key, raw in records.items():
            new.writestr(key, raw)
    with pytest.raises(CheckpointError, match='is compressed'):
        read_weight_file(path)


def lines_of(paths, out):
    """What a process that may crash says of files."""
    with open(out, 'w') as file:
        for path in paths:
            try:
                read_weight_file(path)
            except CheckpointError as error:
                file.write(f'{error}\n')
    os._exit(0)


def test_memory_is_never_the_files(tmp_path):
    """Guards: arrays upon bytes of the file crashed the process."""
    freed = (
        b'}'
        + part('a')
        + call(NDARRAY, part((200_000,)), part('u1'))
        + b'q\x05s'
        + part('b')
        + call(NDARRAY, part((200_000,)), part('u1'), b'h\x05')
        + b's'
        + part('c')
        + b'h\x05'
        + part((1, (1,), 'f4', False, b'abcd'))
        + b'bs'
    )
    programs = [freed, entry(ADDRESSES), entry(call(HISTORY, ADDRESSES))]
    paths = [
        write(tmp_path / f'{i}.pth', program)
        for i, program in enumerate(programs)
    ]
    process = multiprocessing.get_context('fork').Process(
        target=lines_of, args=(paths, tmp_path / 'lines')
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    lines = (tmp_path / 'lines').read_text().splitlines()
    assert len(lines) == 3
    assert all('numpy.ndarray' in line for line in lines), lines


# ------------------------------------------------------ files of all kinds


def mutations(raw, count, seed=0):
    """The same bytes with a few of them changed, dropped or repeated."""
    draw = random.Random(seed)
    for _ in range(count):
        data = bytearray(raw)
        for _ in range(draw.choice((1, 1, 2, 5))):
            at = draw.randrange(len(data))
            change = draw.randrange(4)
            if change < 2:
                data[at] = draw.randrange(256)
            elif change == 2:
                del data[at : at + draw.randrange(1, 9)]
            else:
                data[at:at] = draw.randbytes(draw.randrange(1, 5))
        yield bytes(data)


def test_damage_of_all_kinds_is_one_line(tmp_path):
    saved, path = contents(), tmp_path / 'a.pth'
    torch.save(saved, path)
    with zipfile.ZipFile(path) as archive:
        program = archive.read('a/data.pkl')[2:-1]
        records = {
            n.rpartition('/')[2]: archive.read(n)
            for n in archive.namelist()
            if '/data/' in n
        }
    whole = path.read_bytes()
    torch.save(saved, path, _use_new_zipfile_serialization=False)
    old = path.read_bytes()
    refused = 0
    for form in [*mutations(whole, 60), *mutations(old, 60), None] + [
        *mutations(program, 250)
    ]:
        path = tmp_path / 'b.pth'
        if form is None:
            path.write_bytes(old)
        elif form[:2] == b'PK' or form[:1] == b'\x80':
            path.write_bytes(form)
        else:
            write(path, form, records)
        try:
            read_weight_file(path)
        except CheckpointError as error:
            refused += 1
            text = str(error)
            assert 'b.pth' in text and text.isprintable(), text
            assert 'weights_only' not in text
    assert refused > 200


def tar():
    head = bytearray(512)
    head[:8], head[257:262] = b'sys_info', b'ustar'
    return bytes(head)


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as archive:
        for key, raw in files.items():
            archive.writestr(key, raw)
    return out.getvalue()


KINDS = {
    'a git-lfs pointer.*git lfs pull': b'version https://git-lfs.github.com'
    b'/spec/v1\noid sha256:0\nsize 1\n',
    'an HTML page': b'\n<!DOCTYPE html><html><body>404</body></html>',
    'a JPEG image': b'\xff\xd8\xff\xe0 and so on',
    'a PNG image': b'\x89PNG\r\n\x1a\n',
    'a tar archive': tar(),
    'a gzip archive': b'\x1f\x8b\x08',
    'an empty file': b'',
    'a file of zeros': bytes(5000),
    'a text file.*not a check': b'not a checkpoint',
    "a text file.*'{": b'{"a": 1}',
    'unknown kind': b'\x01\xfe\xfd\xfc' * 9,
    'a pickle that torch.save did not write': pickle.dumps(dict(a=1)),
    'a TorchScript program': zipped(
        {'a/data.pkl': b'', 'a/constants.pkl': b''}
    ),
    'a zip archive .of word/a.xml': zipped({'word/a.xml': b''}),
    'whose end is missing': zipped({'a/data.pkl': bytes(99)})[:80],
}


@pytest.mark.parametrize('kind', KINDS)
def test_the_kind_of_a_file_is_named(tmp_path, kind):
    (tmp_path / 'a.pth').write_bytes(KINDS[kind])
    with pytest.raises(CheckpointError, match=rf'a\.pth is.*{kind}') as error:
        read_weight_file(tmp_path / 'a.pth')
    assert 'weights_only' not in str(error.value)


def test_a_folder_is_called_a_folder(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(CheckpointError, match=r'is a folder: epoch_1\.pth'):
        read_weight_file(tmp_path)
