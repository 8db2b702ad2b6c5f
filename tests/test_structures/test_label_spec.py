"""LabelSpec: ids mean what the label sets say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import occsplat.data  # noqa: F401  registers label sets
from occsplat.structures import LabelSpec

SETS = ('openocc', 'occ3d', 'surroundocc')


def test_openocc_order():
    spec = LabelSpec.named('openocc')
    assert spec.num_classes == 17 and spec.free == 16
    assert spec.classes[0] == 'car' and spec.classes[7] == 'pedestrian'
    assert spec.classes[spec.free] == 'free'
    assert [spec.classes[i] for i in spec.movable][-1] == 'pedestrian'
    # 34 149 frames of 640 000 voxels
    assert sum(spec.counts) == 34149 * 640000


def test_occ3d_order():
    spec = LabelSpec.named('occ3d')
    assert spec.num_classes == 18 and spec.free == 17
    assert spec.classes[4] == 'car' and spec.classes[11:13] == (
        'driveable_surface',
        'other_flat',
    )


def test_surroundocc_order():
    spec = LabelSpec.named('surroundocc')
    assert spec.num_classes == 17 and spec.free == 0
    assert spec.occupied == tuple(range(1, 17))
    assert spec.classes[1] == 'barrier' and spec.classes[16] == 'vegetation'
    # but for the first id the same as Occ3D's
    assert spec.classes[1:] == LabelSpec.named('occ3d').classes[1:17]
    assert not spec.has_flow and spec.ignore == 255
    assert spec.grid.range == (-50, -50, -5, 50, 50, 3)
    assert spec.grid.shape == (200, 200, 16)
    assert spec.grid.size == (0.5, 0.5, 0.5)


@pytest.mark.parametrize('name', SETS)
def test_sizes_are_those_of_the_movable_classes(name):
    spec = LabelSpec.named(name)
    sizes = {spec.classes[i]: s for i, s in zip(spec.movable, spec.sizes)}
    assert len(sizes) == len(spec.movable) == 8
    assert sizes['bus'] == (11.19, 2.94, 3.47)
    # along, across and up, not nuScenes' width, length, height
    vehicles = [s for key, s in sizes.items() if key != 'pedestrian']
    assert all(length > 2 * width for length, width, _ in vehicles)
    assert max(sizes, key=lambda key: sizes[key][0]) == 'trailer'


def test_a_size_for_each_movable_class_or_none():
    spec = LabelSpec.named('openocc')
    assert replace(spec, sizes=()).sizes == ()
    with pytest.raises(ValueError, match='openocc: sizes has 7 entries for 8'):
        replace(spec, sizes=spec.sizes[1:])


def test_the_frame_labels_live_in():
    frames = {n: LabelSpec.named(n).frame for n in SETS}
    assert frames == dict(openocc='ego', occ3d='ego', surroundocc='lidar')


@pytest.mark.parametrize('name', SETS)
@pytest.mark.parametrize(
    'make', [np.array, torch.tensor, lambda x: np.array(x, np.uint8)]
)
def test_what_is_occupied_and_its_channel(name, make):
    spec = LabelSpec.named(name)
    ids = [*range(spec.num_classes), spec.ignore]
    occupied = spec.is_occupied(make(ids))
    channels = spec.channels_of(make(ids))
    assert type(occupied) is type(channels) is type(make(ids))
    assert occupied.tolist() == [i in spec.occupied for i in ids]
    assert channels.tolist() == [
        spec.occupied.index(i) if i in spec.occupied else -1 for i in ids
    ]


def test_a_name_is_registered_once():
    known = LabelSpec.named('occ3d')
    assert replace(known).register() == known  # the same again
    with pytest.raises(ValueError, match="another label spec 'occ3d'"):
        replace(known, free=3).register()
    assert LabelSpec.named('occ3d') is known
    with pytest.raises(ValueError, match="'occ4d'.*'occ3d'.*custom_imports"):
        LabelSpec.named('occ4d')


@pytest.mark.parametrize('name', ['occ3d', 'surroundocc'])
def test_a_class_is_the_same_in_every_set(name):
    first, spec = LabelSpec.named('openocc'), LabelSpec.named(name)
    for i, title in enumerate(spec.classes):
        if title == 'others':
            continue
        j = first.classes.index(title)
        assert spec.palette[i] == first.palette[j]
        # Occ3D has statistics of its own
        assert spec.counts[i] == first.counts[j] or name == 'occ3d'
        assert (i in spec.movable) == (j in first.movable)
    assert set(first.classes) <= set(spec.classes)
    assert len(spec.movable) == 8


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'occ3d', 'openocc'"):
        LabelSpec.named('opencc')
