import numpy as np
import pytest

from occsplat.minitown import build_world, camera_rig, voxelise
from occsplat.minitown.classes import CATEGORIES, occupancy_ids
from occsplat.minitown.labels import (
    camera_rays,
    mark_seen,
    seen_by_cameras,
)
from occsplat.minitown.world import SCENES
from occsplat.structures import LabelSpec

GRID = LabelSpec.named('occ3d').grid


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
