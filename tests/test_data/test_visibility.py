"""Visibility masks: scenes by hand, dense rays, files."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from little_drive import cam2ego
from PIL import Image

from occsplat.data import DataError, NuScenesOccDataset
from occsplat.data.frame_records import frame_record
from occsplat.data.info_files import read_infos
from occsplat.data.layout import CAMERAS
from occsplat.data.transforms import LoadOccLabels
from occsplat.data.visibility import (
    create_visibility,
    record_cameras,
    seen_by_rigs,
)
from occsplat.ops import visible_voxels
from occsplat.structures import CameraRig, LabelSpec, VoxelGrid

SPEC = LabelSpec.named('openocc')
#: 1 m voxels, centres at whole and a half metres
GRID = VoxelGrid(range=(0, -5, 0, 20, 5, 4), shape=(20, 10, 4))
SIZE = (80, 40)


def camera(x=0.0, y=0.0, z=0.0, name='CAM_FRONT', size=SIZE, focal=40.0):
    """Shifted from where the little drive has it, 90 degrees wide."""
    pose = torch.from_numpy(cam2ego(name))
    pose[:3, 3] = torch.tensor([x, y, z], dtype=torch.float64)
    K = torch.eye(3, dtype=torch.float64)
    K[0, 0] = K[1, 1] = focal
    K[0, 2], K[1, 2] = size[0] / 2, size[1] / 2
    return CameraRig.from_matrices(
        torch.linalg.inv(pose)[None], K[None], *size
    )


def empty():
    return torch.zeros(GRID.shape, dtype=torch.bool)


def dense_rays(occupied, rigs, grid, step):
    """What rays of a fine lattice over the images pass."""
    seen = torch.zeros_like(occupied)
    for rig in rigs:
        u = torch.arange(step / 2, rig.width, step, dtype=torch.float64)
        v = torch.arange(step / 2, rig.height, step, dtype=torch.float64)
        v, u = torch.meshgrid(v, u, indexing='ij')
        pixels = torch.stack([u, v, torch.ones_like(u)], -1).view(-1, 3)
        pose = rig.cam2ref[0]
        rays = pixels @ torch.linalg.inv(rig.K[0]).T @ pose[:3, :3].T
        starts = pose[:3, 3].expand_as(rays)
        seen |= visible_voxels(occupied, starts, rays, grid)
    return seen


def test_a_wall_hides_what_is_behind_it_and_nothing_before_it():
    occupied = empty()
    occupied[8:10] = True  # two voxels thick, as wide as the grid
    seen = seen_by_rigs(occupied, [camera(0.3, 0.1, 2.1)], GRID)
    # 90 degrees wide: from 6 m on the camera sees the whole width
    assert seen[6:8, :, 1:3].all()
    assert seen[8, :, 1:3].all()
    assert not seen[9:].any()


def test_free_space_beside_a_post_is_seen_and_its_shadow_is_not():
    occupied = empty()
    occupied[5, 5] = True  # y from 0 to 1
    seen = seen_by_rigs(occupied, [camera(0.5, 0.5, 2.1)], GRID)
    assert seen[5, 5, 1:3].all()
    assert seen[6:9, 4, 2].all() and seen[6:9, 6, 2].all()
    # from half a metre the shadow grows to 2 m at 10 m
    assert not seen[6:, 5].any()
    assert not seen[10, 5].any() and seen[10, 3, 2] and seen[10, 7, 2]


def test_nothing_is_seen_outside_of_the_image():
    rig = camera(10.3, 0.1, 2.1)
    seen = seen_by_rigs(empty(), [rig], GRID)
    # behind, and beside: 45 degrees to the left and to the right
    assert not seen[:10].any()
    assert not seen[12, 8:].any() and not seen[12, :2].any()
    assert seen[14, 2:8, 2].all()
    narrow = seen_by_rigs(empty(), [camera(10.3, 0.1, 2.1, focal=80)], GRID)
    assert not (narrow & ~seen).any() and narrow.sum() < 0.7 * seen.sum()


def test_flat_ground_is_seen_at_any_distance():
    grid = VoxelGrid(range=(-1, -0.8, -1, 60, 0.8, 1), shape=(305, 8, 10))
    ground = torch.zeros(grid.shape, dtype=torch.bool)
    ground[..., :3] = True
    rig = camera(-0.5, 0.0, 0.9)
    seen = seen_by_rigs(ground, [rig], grid)
    assert seen[20:, :, 2].all()
    assert not seen[..., :2].any()
    # rays through pixels miss most of what is far away
    assert dense_rays(ground, [rig], grid, 1)[150:, :, 2].float().mean() < 0.5


def test_cameras_add_up():
    rigs = [camera(10.1, 0.2, 2.1, name) for name in CAMERAS]
    occupied = torch.rand(GRID.shape, generator=torch.manual_seed(0)) < 0.1
    single = [seen_by_rigs(occupied, [rig], GRID) for rig in rigs]
    union = torch.stack(single).any(dim=0)
    assert torch.equal(seen_by_rigs(occupied, rigs, GRID), union)
    assert all(0 < one.sum() < union.sum() for one in single)


def test_images_of_cameras_may_differ_in_size():
    small = camera(10.1, 0.2, 2.1, 'CAM_BACK', (16, 40))
    both = seen_by_rigs(empty(), [camera(10.1, 0.2, 2.1), small], GRID)
    assert both[:10].any()
    assert both[10:].sum() > 2 * both[:10].sum()


def test_what_a_camera_is_inside_of_does_not_blind_it():
    occupied = empty()
    occupied[3, 5, 2] = True
    seen = seen_by_rigs(occupied, [camera(3.4, 0.3, 2.4)], GRID)
    assert seen[15, 5, 2] and occupied[3, 5, 2]


def test_a_camera_outside_of_the_grid_sees_into_it():
    occupied = empty()
    occupied[0] = True
    seen = seen_by_rigs(occupied, [camera(-6.0, 0.1, 2.1)], GRID)
    assert seen[0].sum() > 20 and not seen[1:].any()


@pytest.mark.parametrize('seed', [0, 1])
def test_sees_all_that_has_a_free_line_of_sight_and_no_more(seed):
    make = torch.Generator().manual_seed(seed)
    occupied = torch.rand(GRID.shape, generator=make) < 0.15
    rig = camera(0.31, 0.17, 2.23)
    occupied[0, 5, 2] = False  # where the camera is
    seen = seen_by_rigs(occupied, [rig], GRID)
    # plain steps along the lines to the centres of all free voxels
    free = (~occupied).nonzero()
    centres = GRID.centers(dtype=torch.float64)[~occupied]
    uv, depth = (x[0] for x in rig.project(centres))
    inside = (uv > 0).all(-1) & (uv < torch.tensor(SIZE)).all(-1)
    origin = rig.cam2ref[0, :3, 3]
    along = torch.linspace(0, 1, 2000, dtype=torch.float64)[:, None, None]
    index, _ = GRID.locate(origin + along * (centres - origin))
    clear = ~occupied[tuple(index.clamp(min=0).unbind(-1))].any(dim=0)
    clear &= inside & (depth > 0)
    assert 50 < clear.sum() < len(clear)
    assert seen[tuple(free[clear].T)].all()
    # 800 x 400 rays for 800 voxels: next to nothing escapes them
    truth = dense_rays(occupied, [rig], GRID, 0.1)
    assert (seen & ~truth).sum() <= 0.01 * truth.sum()


@pytest.fixture(scope='module')
def frame(minitown_infos):
    info = read_infos(minitown_infos, 'train')['data_list'][1]
    record = frame_record(info, minitown_infos)
    labels = LoadOccLabels(label_spec='openocc')(dict(record))
    occupied = torch.from_numpy(labels['gt_occ'] != SPEC.free)
    return record, occupied, torch.from_numpy(labels['gt_visible'])


def test_agrees_with_the_masks_of_minitown(frame):
    record, occupied, shipped = frame
    seen = seen_by_rigs(occupied, record_cameras(record), SPEC.grid)
    # a sparser lattice of rays made them: they hold less, and nothing else
    for part in (occupied, ~occupied):
        assert (seen & shipped & part).sum() > 0.985 * (shipped & part).sum()
    iou = (seen & shipped).sum() / (seen | shipped).sum()
    assert iou > 0.93


def test_finds_what_dense_rays_find_in_the_town(frame):
    record, occupied, _ = frame
    rig = record_cameras(record)[1]
    seen = seen_by_rigs(occupied, [rig], SPEC.grid)
    # 640 columns over an image of 160
    truth = dense_rays(occupied, [rig], SPEC.grid, 0.25)
    for part, least in ((occupied, 0.96), (~occupied, 0.99)):
        assert (seen & truth & part).sum() > least * (truth & part).sum()


def masked(source, target, keep=3):
    """A root with its own masks and infos and few frames; linked else."""
    own = ('openocc_v2_ray_mask', 'occsplat_infos_train.pkl')
    for path in source.iterdir():
        if path.name not in own:
            (target / path.name).symlink_to(path)
    infos = read_infos(source, 'train')
    infos['data_list'] = infos['data_list'][:keep]
    for info in infos['data_list']:
        info['visibility_path'] = None
    save(infos, target)
    return target


def save(infos, root):
    with open(root / 'occsplat_infos_train.pkl', 'wb') as file:
        pickle.dump(infos, file)


def masks(root):
    return sorted((root / 'openocc_v2_ray_mask').glob('*/*/*'))


def test_files_are_written_and_the_infos_name_them(minitown_infos, tmp_path):
    root = masked(minitown_infos, tmp_path, keep=2)
    assert create_visibility(root, 'train', progress=False) == 2
    data = NuScenesOccDataset(
        str(root),
        'occsplat_infos_train.pkl',
        pipeline=[LoadOccLabels(label_spec='openocc')],
        label_spec='openocc',
    )
    for sample in data:
        rigs = record_cameras(frame_record_of(root, sample['token']))
        occupied = torch.from_numpy(sample['gt_occ'] != SPEC.free)
        seen = seen_by_rigs(occupied, rigs, SPEC.grid)
        assert (sample['gt_visible'] == seen.numpy()).all()
    # nothing half done lies about
    assert [path.name for path in masks(root)] == ['labels.npz'] * 2


def frame_record_of(root, token):
    for info in read_infos(root, 'train')['data_list']:
        if info['token'] == token:
            return frame_record(info, root)
    raise KeyError(token)


def test_a_second_run_makes_what_is_missing_or_damaged(
    minitown_infos, tmp_path
):
    root = masked(minitown_infos, tmp_path)
    assert create_visibility(root, 'train', progress=False) == 3
    first, second, third = masks(root)
    whole = first.read_bytes()
    first.unlink()
    second.write_bytes(whole[:500])
    before = third.stat().st_mtime_ns
    assert create_visibility(root, 'train', workers=2, progress=False) == 2
    assert first.read_bytes() == whole
    assert np.load(second)['ray_mask2'].any()
    assert third.stat().st_mtime_ns == before
    assert create_visibility(root, 'train', progress=False) == 0


def test_any_number_of_cameras(minitown_infos, tmp_path):
    root = masked(minitown_infos, tmp_path, keep=1)
    infos = read_infos(root, 'train')
    images = infos['data_list'][0]['images']
    infos['data_list'][0]['images'] = {'CAM_BACK': images['CAM_BACK']}
    save(infos, root)
    create_visibility(root, 'train', progress=False)
    seen = np.load(masks(root)[0])['ray_mask2']
    assert seen[:90].any() and not seen[110:].any()


def broken(root, **fields):
    """Change the first camera of the first frame."""
    infos = read_infos(root, 'train')
    info = infos['data_list'][0]
    info['images']['CAM_FRONT_LEFT'].update(fields)
    save(infos, root)
    return info['token']


def test_errors_name_frame_and_file(minitown_infos, tmp_path):
    root = masked(minitown_infos, tmp_path, keep=1)
    broken(root, img_path='none.jpg')
    with pytest.raises(FileNotFoundError, match=r'CAM_FRONT_LEFT/none\.jpg'):
        create_visibility(root, 'train', progress=False)
    # a frame that failed is not in the infos
    info = read_infos(root, 'train')['data_list'][0]
    assert info['visibility_path'] is None and not masks(root)
    token = broken(root, cam2img=np.full((3, 3), np.nan).tolist())
    with pytest.raises((DataError, FileNotFoundError), match=token):
        create_visibility(root, 'train', progress=False)
    with pytest.raises(FileNotFoundError, match='create_data.py nuscenes'):
        create_visibility(tmp_path / 'nowhere', 'train')


def test_a_damaged_image_is_named(minitown_infos, tmp_path):
    root = masked(minitown_infos, tmp_path, keep=1)
    (root / 'samples').unlink()
    shutil.copytree(minitown_infos / 'samples', root / 'samples')
    info = read_infos(root, 'train')['data_list'][0]
    path = root / 'samples/CAM_FRONT' / info['images']['CAM_FRONT']['img_path']
    path.write_bytes(b'no image')
    with pytest.raises(DataError, match=f'{path} cannot be read'):
        create_visibility(root, 'train', progress=False)


def test_cameras_that_see_nothing_are_an_error(minitown_infos, tmp_path):
    root = masked(minitown_infos, tmp_path, keep=1)
    infos = read_infos(root, 'train')
    info = infos['data_list'][0]
    up = np.eye(4)
    up[2, 3] = -90  # far above all, looking up
    info['images'] = {
        'CAM_FRONT': dict(
            info['images']['CAM_FRONT'], lidar2cam=up.tolist(), cam2ego=None
        )
    }
    save(infos, root)
    with pytest.raises(DataError, match='no camera sees any voxel'):
        create_visibility(root, 'train', progress=False)


def test_sizes_are_those_of_the_images(frame):
    record, _, _ = frame
    rigs = record_cameras(record)
    with Image.open(record['img_paths'][0]) as image:
        assert (rigs[0].width, rigs[0].height) == image.size
    assert len(rigs) == 6
