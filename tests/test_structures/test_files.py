"""Files appear whole or not at all, and say why they don't."""

import errno
import multiprocessing
import os
import pickle
import resource
import signal
import tempfile

import pytest

from occsplat.structures import DataError, check_writable, whole_file


def test_a_whole_file_replaces_the_old_one(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    for content in ('one', 'two'):
        with whole_file(path) as part:
            part.write_text(content)
            assert not path.exists() or path.read_text() == 'one'
        assert path.read_text() == content
    assert [p.name for p in path.parent.iterdir()] == ['a.txt']


@pytest.mark.parametrize(
    'number, cure',
    [
        (errno.ENOSPC, 'No space left on device. Make room'),
        (errno.EDQUOT, 'Make room'),
        (errno.EROFS, 'Read-only file system. Change its permissions'),
        (errno.EACCES, 'Permission denied. Change its permissions'),
    ],
)
def test_what_goes_wrong_is_said_and_nothing_is_left(tmp_path, number, cure):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(DataError, match=f'cannot write {path}: .*{cure}'):
        with whole_file(path) as part:
            part.write_text('half')
            raise OSError(number, os.strerror(number))
    assert path.read_text() == 'old'
    assert [p.name for p in tmp_path.iterdir()] == ['a.txt']


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(KeyError):
        with whole_file(tmp_path / 'a.txt') as part:
            part.write_text('half')
            raise KeyError('a')
    assert not list(tmp_path.iterdir())


def write_too_much(path, said):
    """In a process whose files the system stops at 4 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        with whole_file(path) as part, open(part, 'wb') as file:
            pickle.dump([float(i) for i in range(10**5)], file)
    except DataError as error:
        said.put(str(error))


def test_a_disk_that_is_really_full(tmp_path):
    context = multiprocessing.get_context('fork')
    path, said = tmp_path / 'a.pkl', context.SimpleQueue()
    process = context.Process(target=write_too_much, args=(path, said))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert said.get().startswith(f'cannot write {path}: File too large')
    assert not list(tmp_path.iterdir())


def test_folders_are_tried_before_the_work(tmp_path, monkeypatch):
    check_writable(tmp_path)
    check_writable(tmp_path / 'not' / 'there' / 'yet')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'file').write_text('')
    with pytest.raises(DataError, match=f'{tmp_path}/file/a: Not a dir'):
        check_writable(tmp_path / 'file' / 'a')

    def refuse(dir):
        assert dir == tmp_path
        raise OSError(errno.EROFS, 'Read-only file system')

    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    with pytest.raises(DataError, match='b: Read-only file system. Change'):
        check_writable(tmp_path / 'b')
