"""Unpickling plain data runs nothing of the file's."""

import io
import os
import pickle

import numpy as np
import pytest

from occsplat.plain_pickle import RefusedGlobal, unpickle


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_plain_data_comes_back():
    data = dict(a=[1, (2.5, None)], b=np.arange(3, dtype=np.float16))
    back = unpickle(io.BytesIO(pickle.dumps(data)))
    assert back['a'] == data['a']
    np.testing.assert_array_equal(back['b'], data['b'])


@pytest.mark.parametrize('depth', [0, 3])
def test_a_call_is_refused_before_it_happens(tmp_path, depth):
    thing = Attack(tmp_path / 'trace')
    for _ in range(depth):
        thing = {'results': [np.array([thing], dtype=object)]}
    with pytest.raises(RefusedGlobal, match='mkdir'):
        unpickle(io.BytesIO(pickle.dumps(thing)))
    assert not (tmp_path / 'trace').exists()


def test_attributes_of_the_process_stay_as_they_are():
    """A pickle may name a function and then set attributes of it."""
    reconstruct = np.zeros(1).__reduce_ex__(5)[0]
    before = reconstruct.__defaults__
    state = pickle.dumps((None, {'__defaults__': (1, 2, 3)}), 2)[2:-1]
    raw = (
        b'\x80\x02c'
        + f'{reconstruct.__module__}\n{reconstruct.__name__}\n'.encode()
        + state
        + pickle.BUILD
        + pickle.STOP
    )
    unpickle(io.BytesIO(raw))
    assert reconstruct.__defaults__ == before
