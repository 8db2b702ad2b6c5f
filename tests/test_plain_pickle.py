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
    with pytest.raises(RefusedGlobal, match='mkdir|O8'):
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


def test_attributes_of_arrays_stay_as_they_are():
    """A pickle may set attributes of a dtype that numpy shares."""
    state = (3, '|', None, None, None, 4096, 1, 63)
    array = unpickle(io.BytesIO(pickled_array('f8', state, bytes(8))))
    assert array.tolist() == [0.0]
    assert np.dtype('f8').flags == 0 and not array.dtype.hasobject
    assert array.dtype is np.dtype('f8') and array.flags.writeable


def part(value):
    """A value inside a pickle, without frame and memo."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol=3)
    pickler.fast = True
    pickler.dump(value)
    return out.getvalue()[2:-1]


def pickled_dtype(kind, state):
    return (
        b'cnumpy\ndtype\n'
        + part((kind, False, True))
        + pickle.REDUCE
        + part(state)
        + pickle.BUILD
    )


def pickled_array(kind, state, raw):
    """As numpy pickles an array of shape (1,), with any dtype."""
    return (
        b'\x80\x03cnumpy.core.multiarray\n_reconstruct\n'
        + b'cnumpy\nndarray\n'
        + part((0,))
        + part(b'b')
        + pickle.TUPLE3
        + pickle.REDUCE
        + pickle.MARK
        + part(1)
        + part((1,))
        + pickled_dtype(kind, state)
        + part(False)
        + part(raw)
        + pickle.TUPLE
        + pickle.BUILD
        + pickle.STOP
    )


@pytest.mark.parametrize('kind', ['O8', 'V8', 'U2', 'S8', 'M8', 'O', '>f8', 8])
def test_addresses_and_sizes_of_the_file_are_refused(kind):
    """('O8', flags 0) took the bytes as addresses, V8 could grow."""
    state = (3, '|', None, None, None, -1, -1, 0)
    with pytest.raises(RefusedGlobal, match='numpy.dtype of'):
        unpickle(io.BytesIO(pickled_array(kind, state, b'A' * 8)))


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('kind', ['?', 'i1', 'u8', 'f2', 'f8', 'c16'])
def test_arrays_of_numbers_come_back(protocol, kind):
    one = np.arange(6).reshape(2, 3).astype(kind)
    for data in (one, np.asfortranarray(one), one[:0], one[1, 1]):
        back = unpickle(io.BytesIO(pickle.dumps([data, data], protocol)))
        assert type(back[0]) is type(data) and back[0].dtype == data.dtype
        for found in back:
            np.testing.assert_array_equal(found, data)


@pytest.mark.parametrize('protocol', range(6))
def test_the_other_byte_order_is_not_misread(protocol):
    for data in (np.arange(3, dtype='>i4'), np.arange(3, dtype='>f8')):
        with pytest.raises(RefusedGlobal, match='byte order'):
            unpickle(io.BytesIO(pickle.dumps(data, protocol)))


def test_an_array_takes_its_bytes_once_and_shares_none():
    """Else another array could look at memory that is given back."""
    raw = pickled_array('f8', (3, '<', *[None] * 3, -1, -1, 0), bytes(8))
    again = raw[:-1] + part((1, (1,), None, False, bytes(8))) + b'b.'
    with pytest.raises(RefusedGlobal):
        unpickle(io.BytesIO(again))
    view = b'cnumpy._core.numeric\n_frombuffer\n(' + raw[2:-1]
    view += pickled_dtype('f8', (3, '<', *[None] * 3, -1, -1, 0))
    with pytest.raises(RefusedGlobal, match='an array of a ndarray'):
        unpickle(io.BytesIO(b'\x80\x03' + view + part((1,)) + b'NtR.'))
    maker = b'\x80\x03cnumpy\nndarray\n' + part(((1,), 'O')) + b'R.'
    with pytest.raises(RefusedGlobal, match='a call of numpy.ndarray'):
        unpickle(io.BytesIO(maker))


def test_bytes_that_do_not_fill_the_array_are_refused():
    state = (3, '<', None, None, None, -1, -1, 0)
    for raw in (bytes(7), bytes(16), b''):
        with pytest.raises(ValueError):
            unpickle(io.BytesIO(pickled_array('f8', state, raw)))


def test_bytes_of_a_bool_array_become_true_or_false():
    """A 2 in it would be counted as two."""
    state = (3, '|', None, None, None, -1, -1, 0)
    array = unpickle(io.BytesIO(pickled_array('b1', state, b'\x02')))
    assert array.dtype == bool and array.view(np.uint8).tolist() == [1]
