"""Whatever is missing is counted and named, and stops what reads it."""

import shutil

import pytest

from occsplat.data.info_files import read_infos, write_infos
from occsplat.data.inventory import (
    Stock,
    file_size,
    file_titles,
    files_read,
    take_inventory,
)
from occsplat.data.layout import info_file


@pytest.fixture
def root(minitown_lidar2d, tmp_path):
    """A copy that may be damaged."""
    shutil.copytree(minitown_lidar2d, tmp_path / 'town')
    return tmp_path / 'town'


def problems(inventory):
    return [f for f in inventory.findings if f.level == 'problem']


def test_a_whole_town_has_everything(minitown_lidar2d):
    found = take_inventory(minitown_lidar2d)
    assert {f.level for f in found.findings} == {'ok'}
    assert found.whole['train'] == found.whole['val']
    # all but RenderOcc's files, which nobody has made
    assert found.whole['train'] == set(file_titles()) - {'renderocc_root'}
    texts = {f.name: f.text for f in found.findings}
    assert texts['CAM_FRONT'].startswith('8 of 8 files, ')
    assert texts['lidarseg'].startswith('8 of 8 files, ')
    assert texts['train infos'].startswith('4 key frames of 1 scenes')


def test_sizes_and_counts_are_those_of_the_files(tmp_path):
    for n, name in enumerate('ab'):
        (tmp_path / name).write_bytes(bytes(700 * (n + 1)))
    stock = Stock.of([tmp_path / name for name in 'aacb'])
    assert stock == Stock(3, 2, 2100, tmp_path / 'c')
    assert str(stock) == (
        f'2 of 3 files, 2.1 kB; the first missing is {tmp_path / "c"}'
    )
    assert file_size(999) == '999 bytes'
    assert file_size(1_500_000_000) == '1.5 GB'


def test_a_missing_image_is_found_twice(root):
    """By the tables, and in the split that has it."""
    image = next((root / 'samples' / 'CAM_BACK').iterdir())
    image.unlink()
    found = take_inventory(root)
    tables, split = problems(found)
    assert tables.name == 'CAM_BACK'
    assert '7 of 8 files' in tables.text and str(image) in tables.text
    assert split.name.endswith('images') and '23 of 24' in split.text
    whole = [split for split in found.whole.values() if 'img_paths' in split]
    assert len(whole) == 1


@pytest.mark.parametrize(
    'folder, title, key',
    [
        ('gts', 'Occ3D labels', 'occ3d_path'),
        ('openocc_v2', 'OpenOcc labels', 'openocc_path'),
        ('surroundocc', 'SurroundOcc labels', 'surroundocc_path'),
        ('openocc_v2_ray_mask', 'visibility masks', 'visibility_path'),
        ('lidar2d', '2D labels', 'lidar2d_path'),
    ],
)
def test_a_missing_label_is_found(root, folder, title, key):
    label = sorted(p for p in (root / folder).rglob('*.np?'))[0]
    label.unlink()
    found = take_inventory(root)
    (problem,) = problems(found)
    assert problem.name in (f'train {title}', f'val {title}')
    assert '3 of 4 files' in problem.text and str(label) in problem.text
    split = problem.name.split()[0]
    assert key not in found.whole[split]


def test_a_label_set_that_nobody_wants_is_no_problem(root):
    shutil.rmtree(root / 'surroundocc')
    path = root / info_file('train')
    for split in ('train', 'val'):
        infos = read_infos(root, split)
        for entry in infos['data_list']:
            entry['surroundocc_path'] = None
        write_infos(root / info_file(split), infos)
    found = take_inventory(root)
    assert not problems(found)
    notes = [f.name for f in found.findings if f.level == 'note']
    assert notes == ['train SurroundOcc labels', 'val SurroundOcc labels']
    assert 'surroundocc_path' not in found.whole['train'], path


def test_labels_that_the_info_file_does_not_name_are_found(root):
    infos = read_infos(root, 'val')
    infos['data_list'][0]['openocc_path'] = None
    write_infos(root / info_file('val'), infos)
    found = take_inventory(root)
    (problem,) = problems(found)
    assert problem.name == 'val OpenOcc labels'
    assert 'names none for 1 key frames' in problem.text
    assert 'openocc_path' not in found.whole['val']


def test_damaged_tables_and_infos_are_told(root):
    (root / 'v1.0-mini' / 'ego_pose.json').write_text('[')
    (root / info_file('val')).write_bytes(b'nothing')
    found = take_inventory(root)
    assert [p.name for p in problems(found)] == [
        'tables v1.0-mini',
        'val infos',
    ]
    assert set(found.infos) == {'train'}


def test_a_lidarseg_file_that_is_missing_is_told(root):
    next((root / 'lidarseg').rglob('*.bin')).unlink()
    (problem,) = problems(take_inventory(root))
    assert problem.name == 'lidarseg' and '1 of 8 files' in problem.text


def test_without_infos_there_is_the_command_that_makes_them(root):
    for split in ('train', 'val'):
        (root / info_file(split)).unlink()
    (problem,) = problems(take_inventory(root))
    assert f'nuscenes --root {root} --version v1.0-mini' in problem.text


def test_training_needs_no_tables(root):
    shutil.rmtree(root / 'v1.0-mini')
    found = take_inventory(root)
    assert not problems(found)
    assert found.findings[0].level == 'note'
    assert 'v1.0-mini' in found.findings[0].text


def test_other_versions_are_asked_for_by_name(root):
    (problem,) = problems(take_inventory(root, 'v1.0-trainval'))
    assert 'v1.0-trainval' in problem.text and 'v1.0-mini' in problem.text
    with pytest.raises(FileNotFoundError, match='does not exist'):
        take_inventory(root / 'nowhere')


def test_transforms_say_what_they_read():
    labels = dict(type='LoadOccLabels', label_spec='openocc')
    pixels = dict(type='LoadPixelLabels', label_spec='openocc')
    steps = [
        dict(type='LoadMultiViewImages'),
        dict(labels, use_camera_mask=True),
        dict(type='ImageAug', size=(64, 32)),
        dict(type='LidarSemantics', label_spec='openocc'),
        pixels,
    ]
    assert files_read(steps) == (
        'img_paths',
        'openocc_path',
        'visibility_path',
        'lidar2d_path',
    )
    assert files_read([labels]) == ('openocc_path',)
    occ3d = dict(labels, label_spec='occ3d', use_camera_mask=True)
    assert files_read([occ3d, dict(type='LoadLidarPoints')]) == (
        'occ3d_path',
        'lidar_path',
    )
    assert files_read([dict(pixels, renderocc_root='x')]) == (
        'renderocc_root',
    )
