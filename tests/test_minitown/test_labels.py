import numpy as np
import pytest
import torch

from occsplat.minitown import (
    build_world,
    camera_rig,
    lidar_to_ego,
    take_sweep,
    voxelise,
)
from occsplat.minitown.classes import (
    CATEGORIES,
    occupancy_ids,
    surroundocc_ids,
)
from occsplat.minitown.ground import GROUND_Z
from occsplat.minitown.labels import (
    camera_rays,
    mark_seen,
    seen_by_cameras,
    surroundocc_rows,
)
from occsplat.minitown.world import SCENES
from occsplat.structures import LabelSpec

GRID = LabelSpec.named('occ3d').grid
SURROUNDOCC = LabelSpec.named('surroundocc')


def voxels_along(occupied, origin, direction):
    """Slow twin: cut the ray at every voxel plane, look at each piece."""
    start = (origin - np.array(GRID.min)) / np.array(GRID.size)
    step = direction / np.array(GRID.size)
    cuts = [0.0]
    for axis in range(3):
        planes = np.arange(GRID.shape[axis] + 1)
        if step[axis] != 0:
            cuts += list((planes - start[axis]) / step[axis])
    cuts = np.sort([t for t in cuts if t >= 0])
    for low, high in zip(cuts[:-1], cuts[1:]):
        voxel = np.floor(start + 0.5 * (low + high) * step).astype(int)
        if (voxel < 0).any() or (voxel >= GRID.shape).any():
            return
        yield tuple(voxel)
        if occupied[tuple(voxel)]:
            return


@pytest.mark.parametrize('number', [0, 4])
def test_the_mask_holds_exactly_the_voxels_that_rays_reach(world, number):
    occupied = voxelise(world, 1.0)[0] > 0
    camera = camera_rig(0, (800, 450))[number]
    origin, rays = camera_rays(world, 1.0, camera)
    rng = np.random.default_rng(0)
    rays = rays[rng.choice(len(rays), 300, replace=False)]
    seen = np.zeros(GRID.shape, np.uint8)
    mark_seen(occupied, origin, rays, seen)
    expected = np.zeros(GRID.shape, np.uint8)
    for ray in rays:
        for voxel in voxels_along(occupied, origin, ray):
            expected[voxel] = 1
    assert expected.sum() > 5000
    assert (seen == expected).all()


def test_the_mask_does_not_depend_on_the_size_of_the_images(world):
    occupied = voxelise(world, 0.0)[0] > 0
    small, large = (
        seen_by_cameras(world, 0.0, camera_rig(0, size), occupied)
        for size in ((160, 90), (1600, 900))
    )
    assert (small != large).mean() < 1e-5


def test_others_are_manmade_where_there_is_no_such_class():
    occ3d, openocc = LabelSpec.named('occ3d'), LabelSpec.named('openocc')
    names = {}
    for spec in (occ3d, openocc):
        ids = occupancy_ids(spec)
        names[spec.name] = [spec.classes[i] for i in ids]
    dog = CATEGORIES.index('animal')
    assert names['occ3d'][dog] == 'others'
    assert names['openocc'][dog] == 'manmade'
    same = [a == b for a, b in zip(names['occ3d'], names['openocc'])]
    assert all(s or a == 'others' for s, a in zip(same, names['occ3d']))


def test_every_class_occurs_in_the_default_town():
    count = {'occ3d': 0, 'openocc': 0}
    for scene in range(len(SCENES)):
        world = build_world(scene)
        for t in (0.0, 3.0, 6.0):
            category = np.bincount(voxelise(world, t)[0].ravel(), minlength=32)
            for name in count:
                ids = occupancy_ids(LabelSpec.named(name))
                count[name] += np.bincount(ids, category)
    for name, voxels in count.items():
        assert (voxels > 20).all(), dict(
            zip(LabelSpec.named(name).classes, voxels)
        )


def test_surroundocc_has_no_others_but_noise():
    ids = surroundocc_ids()
    assert ids[CATEGORIES.index('animal')] == 0
    assert ids[CATEGORIES.index('movable_object.debris')] == 0
    assert SURROUNDOCC.classes[ids[CATEGORIES.index('vehicle.car')]] == 'car'
    assert SURROUNDOCC.classes[ids[CATEGORIES.index('static.manmade')]] == (
        'manmade'
    )


def dense(rows):
    """Rows of a sparse file as (X, Y, Z); -1 where there is none."""
    volume = np.full(SURROUNDOCC.grid.shape, -1)
    volume[tuple(rows[:, :3].astype(int).T)] = rows[:, 3]
    return volume


def test_surroundocc_is_what_the_world_says_in_the_lidar_frame(world):
    frame, t = 5, 2.5
    rows = surroundocc_rows(world, frame)
    assert rows.dtype == np.uint8 and rows.shape[1:] == (4,)
    # in the order of the grid, every voxel once
    assert (np.diff(np.ravel_multi_index(rows[:, :3].T, GRID.shape)) > 0).all()
    volume, grid = dense(rows), SURROUNDOCC.grid
    rng = np.random.default_rng(0)
    some = rng.permutation(rows)[:10000, :3].astype(int)
    index = np.concatenate([rng.integers(0, grid.shape, (10000, 3)), some])
    centres = np.array(grid.min) + (index + 0.5) * np.array(grid.size)
    pose = world.ego_pose(t) @ lidar_to_ego()
    points = centres @ pose[:3, :3].T + pose[:3, 3]
    # of the ground the layer that holds its top, solids by their centres
    layer = int((GROUND_Z - pose[2, 3] - grid.min[2]) / grid.size[2])
    category = world.class_at(points, t)
    ground = world.ground.class_at(points[:, :2])
    filled = (index[:, 2] == layer) & (category == 0)
    category[filled] = ground[filled]
    expected = surroundocc_ids()[category].astype(int)
    expected[category == 0] = -1
    assert (volume[tuple(index.T)] == expected).all()
    # the ground is one layer thick, and nothing is below it
    assert (rows[:, 2] >= layer).all()
    assert (volume[:, :, layer] >= 0).all()


def test_lidar_points_lie_at_surroundocc_voxels(world):
    """Straight from the sensor: no pose, no frame but the LiDAR's own."""
    sweep, volume = take_sweep(world, 1.0), dense(surroundocc_rows(world, 2))
    grid = SURROUNDOCC.grid
    flat = ['flat' in name for name in CATEGORIES]
    points = sweep.points[~np.array(flat)[sweep.category], :3].astype(float)
    index, inside = grid.locate(torch.from_numpy(points))
    index = index.numpy()[inside.numpy()]
    # a surface cuts through voxels whose centres are outside of the solid
    solid = volume >= 0
    solid[:, :, :7] = False  # the ground and below
    near = solid.copy()
    for axis in range(3):
        near |= np.roll(near, 1, axis) | np.roll(near, -1, axis)
    index = index[index[:, 2] > 6]
    assert len(index) > 3000
    assert near[tuple(index.T)].mean() > 0.97
    # a quarter turn, the ego frame's axes, would not pass
    turned = np.column_stack([index[:, 1], 199 - index[:, 0], index[:, 2]])
    assert near[tuple(turned.T)].mean() < 0.7


def large_surfaces(ids, spec):
    """Voxels in the midst of their class, where two grids must agree.

    Solids whose 26 neighbours are of their class, and open ground (free
    above) whose eight neighbours in its layer are.
    """

    def around(volume, value, steps):
        out = np.ones(volume.shape, bool)
        for step in steps:
            out &= np.roll(volume, step, (0, 1, 2)) == value
        return out

    def middle(volume, value, high):
        r = (-1, 0, 1)
        steps = [(x, y, z) for x in r for y in r for z in (r if high else [0])]
        return around(volume, value, steps)

    flat = {'driveable_surface', 'other_flat', 'sidewalk', 'terrain'}
    above = np.roll(ids, -1, axis=2)
    open_air = middle(above, spec.free, high=False)
    surfaces = np.zeros(ids.shape, bool)
    for i in spec.occupied:
        if spec.classes[i] in flat:
            surfaces |= middle(ids, i, high=False) & open_air
        else:
            surfaces |= middle(ids, i, high=True)
    # np.roll wraps around
    surfaces[[0, -1]] = surfaces[:, [0, -1]] = surfaces[..., [0, -1]] = False
    return surfaces


@pytest.mark.parametrize('scene, frame', [(0, 0), (1, 9)])
def test_surroundocc_agrees_with_occ3d(scene, frame):
    world, spec = build_world(scene), LabelSpec.named('occ3d')
    ids = occupancy_ids(spec)[voxelise(world, frame * 0.5)[0]]
    volume = dense(surroundocc_rows(world, frame))
    points = GRID.centers(dtype=torch.float64).numpy()
    mount = lidar_to_ego()
    local = (points - mount[:3, 3]) @ mount[:3, :3]
    index, inside = SURROUNDOCC.grid.locate(torch.from_numpy(local))
    chosen = large_surfaces(ids, spec) & inside.numpy()
    other = volume[tuple(index.numpy()[chosen].T)]
    # but for 0 ('others' and noise) the two number their classes alike
    same = other == ids[chosen]
    assert chosen.sum() > 40000
    assert same.mean() > 0.99
    for i in np.unique(ids[chosen]):
        assert same[ids[chosen] == i].mean() > 0.95, spec.classes[i]
    # and with nothing picked out: walls and kerbs are cut elsewhere
    everything = (ids != spec.free) & inside.numpy()
    other = volume[tuple(index.numpy()[everything].T)]
    assert (other == ids[everything]).mean() > 0.85
