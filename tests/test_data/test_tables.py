"""Tables that are incomplete, damaged or contradict each other."""

import json
import shutil

import pytest
from town_tables import change_rows, drop, tables

from occsplat.data import DataError
from occsplat.data.info_files import read_infos
from occsplat.data.infos import create_infos


@pytest.fixture
def root(minitown_root, tmp_path):
    """A MiniTown whose tables can be changed."""
    return tables(minitown_root, tmp_path)


READ = (
    'scene sample sample_data sensor calibrated_sensor ego_pose '
    'sample_annotation instance category'
).split()


@pytest.mark.parametrize('table', READ)
def test_missing_tables_are_named(root, table, tool):
    (root / 'v1.0-mini' / f'{table}.json').unlink()
    said = tool('nuscenes', '--root', root, '--version', 'v1.0-mini')
    assert said.startswith(
        f'error: table {root}/v1.0-mini/{table}.json is mis'
    )
    assert '\n' not in said


@pytest.mark.parametrize(
    'content',
    [b'', b'[{"token": "a"', b'\xff\xfe\x00', b'{}', b'[1]', b'null'],
)
@pytest.mark.parametrize('table', ['sample', 'ego_pose'])
def test_damaged_tables_are_named(root, table, content):
    path = root / 'v1.0-mini' / f'{table}.json'
    path.write_bytes(content)
    with pytest.raises(DataError, match=f'{path} .*unpack'):
        create_infos(root, 'v1.0-mini')


@pytest.mark.parametrize('table', READ)
def test_rows_without_a_column_or_with_another_type(root, table):
    path = root / 'v1.0-mini' / f'{table}.json'
    before = path.read_text()
    columns = dict(
        scene='name',
        sample='timestamp',
        sample_data='filename',
        sensor='channel',
        calibrated_sensor='translation',
        ego_pose='rotation',
        sample_annotation='size',
        instance='category_token',
        category='name',
    )
    column = columns[table]
    change_rows(root, table, lambda row: row.pop(column), count=2)
    with pytest.raises(DataError, match=f'{path}, row .* {column} is nothing'):
        create_infos(root, 'v1.0-mini')
    path.write_text(before)
    change_rows(root, table, lambda row: row.update({column: None}))
    with pytest.raises(DataError, match=f'{path}, row .* {column} is None'):
        create_infos(root, 'v1.0-mini')


@pytest.mark.parametrize('table', READ[1:])
def test_rows_that_others_name(root, table):
    """A table that was cut off, or belongs to another version."""
    rows = json.loads((root / 'v1.0-mini' / f'{table}.json').read_text())
    drop(root, table, lambda row: row in rows[1 : len(rows) // 2])
    with pytest.raises(DataError, match=r'v1\.0-mini/\w+\.json.* has no '):
        create_infos(root, 'v1.0-mini')


def test_key_frames_in_a_circle(root):
    change_rows(root, 'sample', lambda row: row.update(next=row['token']))
    with pytest.raises(DataError, match=r'sample\.json.*scene-.*circle'):
        create_infos(root, 'v1.0-mini')


def test_tokens_that_come_twice(root):
    change_rows(root, 'sensor', lambda row: row.update(token='same'))
    with pytest.raises(DataError, match=r'sensor\.json has several rows'):
        create_infos(root, 'v1.0-mini')


def test_a_key_frame_without_a_sweep(root):
    drop(root, 'sample_data', lambda row: row['filename'].endswith('.bin'))
    with pytest.raises(DataError, match=r'no LIDAR_TOP of key frame'):
        create_infos(root, 'v1.0-mini')


def test_info_files_need_neither_lidarseg_nor_maps(root, minitown_infos):
    """Half unpacked: the table without files, and without indices."""
    for name in ('lidarseg', 'maps'):
        (root / name).unlink()
    for name in ('map', 'log', 'attribute', 'visibility'):
        (root / 'v1.0-mini' / f'{name}.json').unlink()
    change_rows(root, 'category', lambda row: row.pop('index'))
    (root / 'v1.0-mini/panoptic.json').write_text('[')
    create_infos(root, 'v1.0-mini')
    for split in ('train', 'val'):
        assert read_infos(root, split) == read_infos(minitown_infos, split)


def own_samples(root):
    """Copy what is linked, so that files can be taken away."""
    source = (root / 'samples').resolve()
    (root / 'samples').unlink()
    shutil.copytree(source, root / 'samples')
    return root


def test_scenes_without_files_can_be_left_out(root, minitown_infos, tool):
    """Some of the archives, with the tables of all."""
    own_samples(root)
    whole = read_infos(minitown_infos, 'val')
    lost = read_infos(minitown_infos, 'train')['data_list']
    for info in lost[2:]:
        for name, camera in info['images'].items():
            (root / 'samples' / name / camera['img_path']).unlink()
    arguments = ('nuscenes', '--root', root, '--version', 'v1.0-mini')
    said = tool(*arguments)
    assert '12 of 48 images are missing' in said and '--skip-missing' in said
    assert not list(root.glob('occsplat_infos_*'))
    assert tool(*arguments, '--skip-missing') is None
    assert read_infos(root, 'val') == whole
    # a scene of which a part is there is no scene
    with pytest.raises(DataError, match='holds no key frame'):
        read_infos(root, 'train')


def test_what_is_left_out_is_counted(root, monkeypatch):
    own_samples(root)
    said = []
    monkeypatch.setattr(
        'occsplat.data.infos.print_log',
        lambda message, **kwargs: said.append(message),
    )
    create_infos(root, 'v1.0-mini', skip_missing=True)
    assert not [text for text in said if 'left out' in text]
    cloud = min((root / 'samples/LIDAR_TOP').iterdir())
    cloud.unlink()
    create_infos(root, 'v1.0-mini', skip_missing=True)
    report = [text for text in said if 'scenes are left out' in text]
    assert sorted(t.partition(' scenes')[0][-6:] for t in report) == [
        '0 of 1',
        '1 of 1',
    ]
    assert f'1 of 8 point clouds are missing, the first is {cloud}' in said
    for path in (root / 'samples/CAM_BACK').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match='no scene of which all'):
        create_infos(root, 'v1.0-mini', skip_missing=True)


@pytest.mark.parametrize(
    'arguments',
    [
        'minitown --scenes 50',
        'minitown --frames many',
        'minitown --image-size 8x8',
        'minitown --seed -1',
        'stats --workers 0',
    ],
)
def test_arguments_out_of_range_are_one_line(arguments, tool, capsys):
    assert tool(*arguments.split()) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert 'error: argument --' in last and 'expected' in last
