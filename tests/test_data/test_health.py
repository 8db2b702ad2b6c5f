"""Every fault that is put into the data brings its figure below its bound."""

import copy

import numpy as np
import pytest

from occsplat.data import health
from occsplat.data.health import check_frames
from occsplat.data.info_files import read_infos
from occsplat.data.label_set import LabelSet


@pytest.fixture(scope='module')
def town(minitown_lidar2d):
    """Root, and the content of its info files."""
    root = minitown_lidar2d
    return root, {s: read_infos(root, s) for s in ('train', 'val')}


def faults(town, change=None, frames=2):
    """Names of the figures that are below their bounds after a change."""
    root, infos = town
    infos = copy.deepcopy(infos)
    for content in infos.values():
        for entry in content['data_list']:
            if change is not None:
                change(entry)
    return {
        finding.name: finding.text
        for finding in check_frames(root, infos, frames)
        if finding.level == 'problem'
    }


def names(bound, *titles):
    return {f'{bound.name}, {title}' for title in titles}


LABELS = ('Occ3D labels', 'OpenOcc labels', 'SurroundOcc labels')


def test_right_data_has_no_fault(town):
    root, infos = town
    findings = check_frames(root, infos)
    assert {finding.level for finding in findings} == {'ok'}
    # six cameras, two of boxes, and three of each label set
    assert len(findings) == 6 + 2 + 3 * 3


def changed_cameras(change):
    def apply(entry):
        for camera in entry['images'].values():
            # the reader compares the two, where there are two
            camera.pop('cam2ego')
            lidar2cam = np.array(camera['lidar2cam'])
            camera['lidar2cam'] = change(lidar2cam).tolist()

    return apply


def transposed(pose):
    pose = pose.copy()
    pose[:3, :3] = pose[:3, :3].T
    return pose


def tilted(pose):
    cos, sin = np.cos(0.4), np.sin(0.4)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[cos, -sin], [sin, cos]]
    return turn @ pose


@pytest.mark.parametrize(
    'change, cameras',
    [
        (transposed, 5),
        (np.linalg.inv, 5),
        (lambda pose: np.diag([-1.0, -1, 1, 1]) @ pose, 6),  # upside down
        (tilted, 6),
    ],
    ids=['transposed', 'inverted', 'upside down', 'tilted'],
)
def test_wrong_cameras_are_found(town, change, cameras):
    found = faults(town, changed_cameras(change))
    assert all(name.startswith(health.IMAGES.name) for name in found)
    assert len(found) >= cameras
    assert 'lidar2cam' in next(iter(found.values()))


def test_one_wrong_camera_is_named(town):
    def change(entry):
        changed_cameras(tilted)(
            dict(images=dict(CAM_BACK=entry['images']['CAM_BACK']))
        )

    assert faults(town, change).keys() == names(health.IMAGES, 'CAM_BACK')


def changed_boxes(change):
    def apply(entry):
        lidar2ego = np.array(entry['lidar_points']['lidar2ego'])
        for thing in entry['instances']:
            box = np.array(thing['bbox_3d'])
            thing['bbox_3d'] = list(change(box, lidar2ego))

    return apply


def in_ego(box, lidar2ego):
    centre = (lidar2ego @ np.append(box[:3], 1))[:3]
    turn = np.arctan2(lidar2ego[1, 0], lidar2ego[0, 0])
    return np.concatenate([centre, box[3:6], [box[6] + turn]])


def sides_exchanged(box, lidar2ego):
    return box[[0, 1, 2, 4, 3, 5, 6]]


def older_yaw(box, lidar2ego):
    return np.append(box[:6], -box[6] - np.pi / 2)


def at_the_bottom(box, lidar2ego):
    return box - [0, 0, box[5] / 2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    'change', [in_ego, sides_exchanged, older_yaw, at_the_bottom]
)
def test_wrong_boxes_are_found(town, change):
    found = faults(town, changed_boxes(change))
    assert health.BOX_POINTS.name in found
    assert found.keys() <= {health.BOXES.name, health.BOX_POINTS.name}


def test_boxes_in_the_ego_frame_hold_no_point(town):
    assert health.BOXES.name in faults(town, changed_boxes(in_ego))


def test_labels_of_another_key_frame_are_found(town):
    """The two scenes exchange theirs."""
    root, infos = town
    lists = [content['data_list'] for content in infos.values()]
    other = {
        entry['token']: twin
        for these, those in (lists, lists[::-1])
        for entry, twin in zip(these, those)
    }

    def change(entry):
        entry['occ3d_path'] = other[entry['token']]['occ3d_path']

    found = faults(town, change)
    assert names(health.BESIDE, 'Occ3D labels') <= found.keys()
    assert all('Occ3D' in name for name in found)


@pytest.fixture
def moved(monkeypatch):
    """A function that lets all label sets read their volumes moved."""

    def set_move(move):
        for labels in health.label_sets():
            read = labels.read

            def read_moved(record, flow, read=read):
                volume = read(record, flow)
                occ = np.ascontiguousarray(move(volume.occ))
                return volume._replace(occ=occ)

            sets = [
                LabelSet(s.spec, s.file, read_moved, s.masks, s.has_masks)
                if s.spec == labels.spec
                else s
                for s in health.label_sets()
            ]
            monkeypatch.setattr(health, 'label_sets', lambda sets=sets: sets)

    return set_move


@pytest.mark.parametrize(
    'move',
    [
        lambda occ: occ.transpose(1, 0, 2),
        lambda occ: occ[::-1],
        lambda occ: occ[:, ::-1],
        lambda occ: np.rot90(occ),
        lambda occ: np.rot90(occ, 2),
        lambda occ: np.rot90(occ, 3),
    ],
    ids=['transposed', 'x', 'y', '90', '180', '270'],
)
def test_wrong_axes_are_found_and_undone(town, moved, move):
    moved(move)
    found = faults(town)
    places = {f'place of {title}' for title in LABELS}
    assert found.keys() >= names(health.BESIDE, *LABELS) | places
    (right,) = {
        where
        for where, undo in health._moves(
            LabelSet.named('occ3d').spec.grid
        ).items()
        if where and _undoes(undo, move)
    }
    for place in places:
        assert found[place].startswith(f'{right} they fit')


def _undoes(undo, move):
    index = np.arange(200 * 200).reshape(200, 200, 1)
    return np.array_equal(undo(move(index)), index)


@pytest.mark.parametrize('axis', [0, 1])
@pytest.mark.parametrize('step', [-2, -1, 1, 2])
def test_labels_a_voxel_aside_are_found(town, moved, step, axis):
    moved(lambda occ: np.roll(occ, step, axis))
    found = faults(town)
    for title in LABELS:
        text = found[f'place of {title}']
        assert text.startswith(
            f'moved by {-step:+d} voxels along {"xy"[axis]}'
        )


@pytest.mark.parametrize('step', [-2, -1, 1, 2])
def test_labels_a_voxel_up_or_down_are_found(town, moved, step):
    moved(lambda occ: np.roll(occ, step, axis=2))
    assert faults(town).keys() >= names(health.UNDER, *LABELS)


def test_labels_in_the_wrong_frame_are_found(town, monkeypatch):
    """SurroundOcc's files hold what is in the LiDAR frame, not the ego's."""
    measure = health.label_fits

    def in_ego_frame(labels, record, points, above):
        if labels.spec.name == 'surroundocc':
            # the LiDAR frame's x is to the right, the ego frame's ahead
            points = points[:, [1, 0, 2]] * (1, -1, 1)
        return measure(labels, record, points, above)

    monkeypatch.setattr(health, 'label_fits', in_ego_frame)
    found = faults(town)
    assert names(health.BESIDE, 'SurroundOcc labels') <= found.keys()
    assert 'degrees' in found['place of SurroundOcc labels']
    assert all('SurroundOcc' in name for name in found)


def test_files_that_cannot_be_used_are_told(town, tmp_path):
    root, infos = copy.deepcopy(town)
    for path in root.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / 'samples').unlink()
    for path in (root / 'samples').rglob('*.*'):
        copied = tmp_path / path.relative_to(root)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    name = infos['train']['data_list'][0]['images']['CAM_BACK']['img_path']
    image = tmp_path / 'samples' / 'CAM_BACK' / name
    image.write_bytes(image.read_bytes()[:-400])  # cut off
    found = faults((tmp_path, infos), frames=8)
    assert found.keys() == {'files of key frames'}
    text = found['files of key frames']
    assert text.startswith('1 of 8 key frames') and str(image) in text


def test_images_of_another_size_are_told(town):
    def change(entry):
        entry['images']['CAM_BACK']['width'] += 2

    found = faults(town, change)
    assert (
        '160x90 pixels, the info entry says 162x90'
        in (found['files of key frames'])
    )


def test_the_draw_follows_the_seed(town):
    root, infos = town
    first = check_frames(root, infos, frames=2, seed=1)
    assert first == check_frames(root, infos, frames=2, seed=1)
    assert first != check_frames(root, infos, frames=2, seed=2)
    assert 'of 2 key frames' in first[0].text
