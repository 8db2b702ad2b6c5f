"""A root that can't be written is found before the work, not after."""

import errno

import pytest
from town_tables import tables

from occsplat.data import DataError
from occsplat.data.info_files import write_infos

COMMANDS = [
    'minitown --workers 1 --scenes 2 --frames 2 --image-size 64x36',
    'nuscenes --version v1.0-mini',
    'stats',
    'visibility --split train',
    'lidar2d --version v1.0-mini --split train',
    'rays --split train',
]


@pytest.mark.parametrize('command', COMMANDS)
def test_nothing_is_computed_for_a_read_only_root(
    command,
    minitown_infos,
    tmp_path,
    tool,
    monkeypatch,
):
    root = tables(minitown_infos, tmp_path)

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, 'Read-only file system')

    def work(*args, **kwargs):
        pytest.fail('worked before it looked')

    monkeypatch.setattr('tempfile.TemporaryFile', refuse)
    for target in (
        'minitown.create.write_frame',
        'data.infos.key_frame_info',
        'data.statistics.each_frame',
        'data.visibility.each_frame',
        'data.lidar2d.each_frame',
        'evaluation.cast_frame',
    ):
        monkeypatch.setattr(f'occsplat.{target}', work)
    name, *options = command.split()
    if name == 'rays':
        options += ['--out', str(tmp_path / 'out/truth.gz')]
    said = tool(name, '--root', root, *options)
    assert said.startswith('error: cannot write to the folder')
    assert 'Read-only file system' in said and '\n' not in said
    assert not list(tmp_path.rglob('*.part'))


def test_a_disk_that_fills_up_while_infos_are_written(tmp_path, monkeypatch):
    path = tmp_path / 'occsplat_infos_train.pkl'
    write_infos(path, dict(data_list=[1]))
    before = path.read_bytes()

    def half(content, file, protocol):
        file.write(b'half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('pickle.dump', half)
    with pytest.raises(DataError, match=f'{path}: No space left.*Make room'):
        write_infos(path, dict(data_list=[2]))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
