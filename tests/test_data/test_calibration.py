"""Calibrations that can't be ones are refused at both doors, by name."""

import copy

import numpy as np
import pytest
from little_drive import SIZE, make_info, write_drive, write_infos
from PIL import Image
from town_tables import change_rows, tables

from occsplat.data import DataError, NuScenesOccDataset
from occsplat.data.frame_records import frame_record
from occsplat.data.infos import create_infos
from occsplat.data.layout import CAMERAS

NAN, INF = float('nan'), float('inf')
FRONT = ('images', 'CAM_FRONT')
K, POSE, MOUNT = (
    (*FRONT, 'cam2img'),
    (*FRONT, 'lidar2cam'),
    ('lidar_points', 'lidar2ego'),
)


def entry(path=None, change=None):
    """An info entry in which one field is changed."""
    info = make_info('a', 1, 3)
    for camera in info['images'].values():
        camera.update(width=SIZE[0], height=SIZE[1], timestamp=0.49)
    if path is not None:
        holder = info
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = change(holder[path[-1]])
    return copy.deepcopy(info)


def times(left):
    """Multiply a matrix from the left."""
    return lambda value: (np.array(left) @ np.array(value)).tolist()


def put(row, column, number):
    """Set one number of a matrix."""

    def change(value):
        value = [list(line) for line in value]
        value[row][column] = number
        return value

    return change


def constant(value):
    return lambda _: value


def transposed(value):
    return np.transpose(value).tolist()


def inverted(value):
    return np.linalg.inv(value).tolist()


def focal(fx, fy):
    return constant([[fx, 0, 80.0], [0, fy, 45.0], [0, 0, 1]])


def centre(cx, cy):
    return constant([[80.0, 0, cx], [0, 80.0, cy], [0, 0, 1]])


MIRROR = np.diag([-1.0, 1, 1, 1])
SCALED = np.diag([1.1, 1.1, 1.1, 1])
SHEARED = np.eye(4)
SHEARED[0, 1] = 0.2
MILLIMETRES = np.eye(4)
MILLIMETRES[:3, 3] = 900, 300, 1800
BAD = dict(
    K_zero=(K, constant(np.zeros((3, 3)).tolist())),
    K_singular=(K, put(1, 1, 0.0)),
    K_nan=(K, put(0, 0, NAN)),
    K_nan_centre=(K, put(0, 2, NAN)),
    K_infinite=(K, put(1, 1, INF)),
    K_negative=(K, focal(-80.0, 80.0)),
    K_mirrored_upright=(K, focal(80.0, -80.0)),
    K_transposed=(K, transposed),
    K_inverted=(K, inverted),
    K_of_the_unit_image=(
        K,
        constant([[0.5, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]),
    ),
    K_skew=(K, put(0, 1, 30.0)),
    K_turned=(K, put(1, 0, 80.0)),
    K_last_row=(K, put(2, 2, 2.0)),
    K_2x2=(K, constant([[80.0, 0], [0, 80.0]])),
    K_ragged=(K, constant([[80.0, 0, 80], [0, 80.0], [0, 0, 1]])),
    K_text=(K, constant([['a'] * 3] * 3)),
    K_none=(K, constant(None)),
    K_of_images_twice_as_large=(K, centre(160.0, 90.0)),
    K_of_images_far_larger=(K, centre(800.0, 450.0)),
    K_centre_left=(K, centre(-1.0, 45.0)),
    K_centre_below=(K, centre(80.0, 90.5)),
    K_too_wide=(K, focal(5.0, 5.0)),
    K_baseline=(
        K,
        constant([[80.0, 0, 80, -40], [0, 80, 45, 0], [0, 0, 1, 0]]),
    ),
    size_zero=((*FRONT, 'width'), constant(0)),
    size_text=((*FRONT, 'height'), constant('90')),
    pose_nan=(POSE, put(0, 3, NAN)),
    pose_infinite=(POSE, put(2, 3, INF)),
    pose_scaled=(POSE, times(SCALED)),
    pose_scaled_a_little=(POSE, times(np.diag([1.002] * 3 + [1.0]))),
    pose_sheared=(POSE, times(SHEARED)),
    pose_mirrored=(POSE, times(MIRROR)),
    pose_zero=(POSE, constant(np.zeros((4, 4)).tolist())),
    pose_transposed=(POSE, transposed),
    pose_inverted=(POSE, inverted),
    pose_of_another_camera=(POSE, times(np.diag([-1.0, 1, -1, 1]))),
    pose_3x4=(POSE, lambda value: value[:3]),
    pose_last_row=(POSE, put(3, 3, 0.0)),
    mount_nan=(MOUNT, put(1, 3, NAN)),
    mount_scaled=(MOUNT, times(SCALED)),
    mount_mirrored=(MOUNT, times(MIRROR)),
    mount_in_millimetres=(MOUNT, times(MILLIMETRES)),
    camera_mount_nan=((*FRONT, 'cam2ego'), put(0, 0, NAN)),
    camera_mount_sheared=((*FRONT, 'cam2ego'), times(SHEARED)),
    camera_ego_scaled=((*FRONT, 'ego2global'), times(SCALED)),
    ego_nan=(('ego2global',), put(0, 3, NAN)),
    ego_scaled=(('ego2global',), times(SCALED)),
    ego_mirrored=(('ego2global',), times(MIRROR)),
    ego_transposed=(('ego2global',), transposed),
    ego_none=(('ego2global',), constant(None)),
    time_nan=(('timestamp',), constant(NAN)),
    time_infinite=(('timestamp',), constant(INF)),
    time_negative=(('timestamp',), constant(-1.0)),
    time_microseconds=(('timestamp',), constant(1.5e15)),
    time_text=(('timestamp',), constant('now')),
    time_none=(('timestamp',), constant(None)),
    camera_time_nan=((*FRONT, 'timestamp'), constant(NAN)),
    camera_time_microseconds=((*FRONT, 'timestamp'), constant(490000.0)),
)


@pytest.mark.parametrize('name', BAD)
def test_bad_calibrations_are_refused_by_name(name, tmp_path):
    path, change = BAD[name]
    with pytest.raises(DataError) as caught:
        frame_record(entry(path, change), tmp_path)
    said = str(caught.value)
    assert said.startswith("key frame 'a-1': ")
    assert path[-1] in said
    if path[0] == 'images':
        assert 'CAM_FRONT[' in said
    assert '\n' not in said


def rounded(digits, kind=float):
    return lambda value: np.array(value, kind).round(digits).tolist()


GOOD = dict(
    as_it_is=(None, None),
    single_precision=(POSE, rounded(12, np.float32)),
    mount_in_single_precision=(MOUNT, rounded(12, np.float32)),
    four_decimals=(POSE, rounded(4)),
    arrays=(POSE, np.array),
    K_4x4=(
        K,
        constant(
            [[80.0, 0, 80, 0], [0, 80, 45, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        ),
    ),
    K_3x4=(K, constant([[80.0, 0, 80, 0], [0, 80, 45, 0], [0, 0, 1, 0]])),
    K_oblong_pixels=(K, focal(80.0, 120.0)),
    K_cropped=(K, centre(70.0, 8.0)),
    K_a_little_skew=(K, put(0, 1, 0.3)),
    no_size=((*FRONT, 'width'), constant(160)),
    no_mount=((*FRONT, 'cam2ego'), constant(None)),
    turned_by_5_degrees=(
        POSE,
        times(
            [
                [0.9962, 0, 0.0872, 0],
                [0, 1, 0, 0],
                [-0.0872, 0, 0.9962, 0],
                [0, 0, 0, 1],
            ]
        ),
    ),
    whole_seconds=(('timestamp',), constant(1)),
    later=(('timestamp',), constant(0.6)),
)


@pytest.mark.parametrize('name', GOOD)
def test_good_calibrations_pass(name, tmp_path):
    path, change = GOOD[name]
    info = entry(path, change)
    record = frame_record(info, tmp_path)
    assert record['image_sizes'] == [SIZE] * 6
    front = CAMERAS.index('CAM_FRONT')
    there = np.array(info['images']['CAM_FRONT']['lidar2cam'])
    back = record['ref2cam'][front] @ record['lidar2ref']
    np.testing.assert_allclose(back, there, atol=1e-6)


def test_the_reader_names_file_frame_and_camera(tmp_path):
    infos = write_drive(tmp_path, (('a', 3),), sensors=False)
    infos[1]['images']['CAM_BACK']['lidar2cam'][0][3] = NAN
    write_infos(tmp_path, infos)
    match = r"infos\.json: key frame 'a-1': CAM_BACK\['lidar2cam'\]"
    with pytest.raises(DataError, match=match):
        NuScenesOccDataset(str(tmp_path), 'infos.json', label_spec='openocc')


@pytest.mark.parametrize(
    'changed, match',
    [
        ({1: dict(timestamp=0.0)}, "'a-0': the next one, 'a-1', is 0 s"),
        ({1: dict(timestamp=5.0)}, "'a-1': the next one, 'a-2', is -4 s"),
        (
            {i: dict(timestamp=500.0 * i) for i in range(3)},
            'is 500 s later.*seconds',
        ),
        ({2: dict(token='a-1')}, "'a-1' comes twice"),
        ({1: dict(token='../x')}, r"'../x': token is .*without slashes"),
        ({1: dict(token=7)}, 'token is 7; expected a text'),
        ({1: dict(scene_name='a/b')}, 'scene_name is .*without slashes'),
        ({1: dict(next=None)}, 'next is None; expected a text'),
    ],
)
def test_key_frames_that_do_not_follow_each_other(tmp_path, changed, match):
    infos = write_drive(tmp_path, (('a', 3),), sensors=False)
    for index, fields in changed.items():
        infos[index].update(fields)
        for camera in infos[index]['images'].values():
            camera.pop('timestamp', None)
    write_infos(tmp_path, infos)
    with pytest.raises(DataError, match=match):
        NuScenesOccDataset(str(tmp_path), 'infos.json', label_spec='openocc')


@pytest.mark.parametrize('said', [True, False])
def test_images_that_were_resized_on_disk(tmp_path, said):
    """Whether the info file tells the size or the principal point does."""
    infos = write_drive(tmp_path, (('a', 1),))
    for camera in infos[0]['images'].values() if said else ():
        camera.update(width=SIZE[0], height=SIZE[1])
    write_infos(tmp_path, infos)
    steps = [dict(type='LoadMultiViewImages')]
    data = NuScenesOccDataset(
        str(tmp_path), 'infos.json', pipeline=steps, label_spec='openocc'
    )
    assert data[0]['raw_size'] == SIZE
    # 0.7 times as large, the principal point is still in the image
    small = (112, 63) if said else (80, 45)
    for path in tmp_path.glob('samples/CAM_*/*.png'):
        Image.new('RGB', small).save(path)
    match = r"'a-0', .*CAM_FRONT_LEFT.*\.png: .*resized"
    with pytest.raises(DataError, match=match):
        data[0]


def test_the_frame_of_a_camera_is_where_its_image_was_taken(tmp_path):
    """0.3 m before the LiDAR fired the car was 0.3 m further back."""
    infos = write_drive(tmp_path, (('a', 1),))
    back = np.eye(4)
    back[0, 3] = -0.3
    lidar2ego = np.array(infos[0]['lidar_points']['lidar2ego'])
    for camera in infos[0]['images'].values():
        mount = np.array(camera['cam2ego'])
        lidar2cam = np.linalg.inv(back @ mount) @ lidar2ego
        camera['lidar2cam'] = lidar2cam.tolist()
        camera.pop('ego2global', None)
    write_infos(tmp_path, infos)

    def cameras(**options):
        steps = [dict(type='LoadMultiViewImages', **options)]
        data = NuScenesOccDataset(
            str(tmp_path), 'infos.json', pipeline=steps, label_spec='openocc'
        )
        return data[0]['rig'].cam2ref[0].numpy()

    mounts = [c['cam2ego'] for c in infos[0]['images'].values()]
    found = cameras(pose_of='CAM_FRONT')
    np.testing.assert_allclose(found, mounts, atol=1e-9)
    np.testing.assert_allclose(cameras(), back @ np.array(mounts), atol=1e-9)
    with pytest.raises(ValueError, match="pose_of must be one of.*'CAM_UP'"):
        cameras(pose_of='CAM_UP')
    for camera in infos[0]['images'].values():
        del camera['cam2ego']
    write_infos(tmp_path, infos)
    with pytest.raises(DataError, match=r"CAM_FRONT\['cam2ego'\]"):
        cameras(pose_of='CAM_FRONT')


def test_images_of_unequal_size_are_named(tmp_path):
    write_drive(tmp_path, (('a', 1),))
    path = tmp_path / 'samples/CAM_BACK/a_0_CAM_BACK.png'
    Image.new('RGB', (170, 96)).save(path)
    steps = [dict(type='LoadMultiViewImages')]
    data = NuScenesOccDataset(
        str(tmp_path), 'infos.json', pipeline=steps, label_spec='openocc'
    )
    match = r"'a-0'.*one size.*170x96 of CAM_BACK \(.*a_0_CAM_BACK\.png\)"
    with pytest.raises(DataError, match=match):
        data[0]


def camera_rows(change):
    return lambda row: (
        row['camera_intrinsic']
        and row.update(camera_intrinsic=change(row['camera_intrinsic']))
    )


@pytest.mark.parametrize(
    'table, change, match',
    [
        (
            'calibrated_sensor',
            camera_rows(transposed),
            r"tables in .*v1.0-mini: key frame '.*': CAM_.*'cam2img'.*transp",
        ),
        (
            'calibrated_sensor',
            camera_rows(lambda value: (np.array(value) / 1000).tolist()),
            'last row',
        ),
        (
            'calibrated_sensor',
            lambda row: row.update(rotation=[0.0, 0.0, 0.0, 0.0]),
            'calibrated_sensor.json, row .*: rotation is .*length 1',
        ),
        (
            'ego_pose',
            lambda row: row.update(rotation=[2.0, 0.0, 0.0, 0.0]),
            'ego_pose.json, row .*: rotation is .*length 1',
        ),
        (
            'ego_pose',
            lambda row: row.update(translation=[NAN, 0.0, 0.0]),
            'ego_pose.json, row .*: translation is .*finite',
        ),
        (
            'sample',
            lambda row: row.update(timestamp=row['timestamp'] * 1000),
            'timestamp is .*seconds',
        ),
        (
            'sample',
            lambda row: row.update(timestamp=row['timestamp'] / 1e6),
            "CAM_.*'timestamp'.* s after",
        ),
        (
            'sample_data',
            lambda row: row.update(width=2 * row['width']),
            r'the image has 160x90 pixels, the info entry says 320x90',
        ),
    ],
)
def test_the_writer_refuses_them_too(
    minitown_root, tmp_path, table, change, match
):
    root = tables(minitown_root, tmp_path)
    change_rows(root, table, change)
    with pytest.raises(DataError, match=match):
        create_infos(root, 'v1.0-mini')
    assert not list(root.glob('occsplat_infos_*'))
