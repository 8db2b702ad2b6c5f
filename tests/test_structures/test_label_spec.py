"""LabelSpec: ids mean what the label sets say."""

import pytest

from occsplat.structures import LabelSpec


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


def test_both_sets_move_the_same_classes():
    names = [
        {spec.classes[i] for i in spec.movable}
        for spec in map(LabelSpec.named, ('openocc', 'occ3d'))
    ]
    assert names[0] == names[1] and len(names[0]) == 8


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'occ3d', 'openocc'"):
        LabelSpec.named('opencc')
