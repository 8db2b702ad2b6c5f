"""Info files are data: loading one never runs anything."""

import collections
import json
import os
import pickle

import numpy as np
import pytest

from occsplat.data.safe_pickle import load_plain

PLAIN = dict(
    text='a',
    numbers=[1, 2.5, True, None, 3 + 4j],
    nested=[[1, (2, {3})], collections.OrderedDict(a=b'bytes')],
)


@pytest.mark.parametrize('protocol', range(6))
def test_plain_data_comes_back(tmp_path, protocol):
    path = tmp_path / 'infos.pkl'
    path.write_bytes(pickle.dumps(PLAIN | dict(nested=[1]), protocol))
    assert load_plain(path) == PLAIN | dict(nested=[1])


def test_containers_come_back(tmp_path):
    path = tmp_path / 'infos.pkl'
    path.write_bytes(pickle.dumps(PLAIN, 4))
    assert load_plain(path) == PLAIN


@pytest.mark.parametrize('package', [b'numpy.core', b'numpy._core'])
def test_arrays_of_both_numpy_generations(tmp_path, package):
    data = dict(a=np.arange(6.0).reshape(2, 3), s=np.float32(2))
    # protocol 2 spells module names out, without their length
    raw = pickle.dumps(data, 2)
    for name in (b'numpy._core', b'numpy.core'):
        raw = raw.replace(b'c' + name + b'.', b'c' + package + b'.')
    assert package in raw
    path = tmp_path / 'infos.pkl'
    path.write_bytes(raw)
    loaded = load_plain(path)
    np.testing.assert_array_equal(loaded['a'], data['a'])
    assert loaded['s'] == 2


@pytest.mark.parametrize('protocol', [4, 5])
def test_arrays_of_new_protocols(tmp_path, protocol):
    path = tmp_path / 'infos.pkl'
    path.write_bytes(pickle.dumps(np.arange(5), protocol))
    assert load_plain(path).tolist() == [0, 1, 2, 3, 4]


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_refuses_code_and_does_not_run_it(tmp_path):
    path, trace = tmp_path / 'infos.pkl', tmp_path / 'trace'
    path.write_bytes(pickle.dumps([Attack(f'touch {trace}')]))
    with pytest.raises(ValueError, match=r'infos\.pkl.*posix\.system'):
        load_plain(path)
    assert not trace.exists()


@pytest.mark.parametrize('value', [np.sum, eval, pickle.loads, Attack])
def test_refuses_every_other_global(tmp_path, value):
    path = tmp_path / 'infos.pkl'
    path.write_bytes(pickle.dumps(dict(x=value)))
    with pytest.raises(ValueError, match='refused'):
        load_plain(path)


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / 'infos.pkl'
    path.write_bytes(pickle.dumps(PLAIN, 4)[:-9])
    with pytest.raises(ValueError, match=r'infos\.pkl: not a complete'):
        load_plain(path)
    path = tmp_path / 'infos.json'
    path.write_text('{"data_list": [')
    with pytest.raises(ValueError, match=r'infos\.json: not a complete'):
        load_plain(path)


def test_json(tmp_path):
    path = tmp_path / 'infos.json'
    path.write_text(json.dumps(dict(data_list=[1])))
    assert load_plain(path) == dict(data_list=[1])


def test_other_suffixes(tmp_path):
    with pytest.raises(ValueError, match=r'\.yaml'):
        load_plain(tmp_path / 'infos.yaml')
