"""What adds up over frames, whatever is counted."""

import math
from dataclasses import fields

import numpy as np
import pytest

from occsplat.evaluation import (
    BoxCounts,
    DepthCounts,
    DepthMetric,
    ImageCounts,
    InstanceCounts,
    OffsetCounts,
    RayCounts,
    RunCounts,
    VoxelCounts,
)
from occsplat.evaluation.counts import of_classes

KINDS = [
    BoxCounts,
    DepthCounts,
    ImageCounts,
    InstanceCounts,
    OffsetCounts,
    RayCounts,
    RunCounts,
    VoxelCounts,
]


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_adds_nothing(kind):
    total = sum([kind.zeros(3), kind.zeros(3)], kind.zeros(3))
    assert type(total) is kind
    for field in fields(kind):
        value, zero = (getattr(c, field.name) for c in (total, kind.zeros(3)))
        if isinstance(value, np.ndarray):
            assert value.dtype == zero.dtype and value.shape == zero.shape
            assert not value.any()
        elif not isinstance(value, VoxelCounts):
            assert type(value) is type(zero) and value == 0


def test_zeros_have_the_shapes_of_the_label_set():
    assert VoxelCounts.zeros(5).truth.shape == (5,)
    assert RayCounts.zeros(5).matched.shape == (3, 5)
    assert OffsetCounts.zeros(5).error.shape == (5, 6)
    assert ImageCounts.zeros(5).classes.truth.shape == (5,)
    assert DepthCounts.zeros().cells.shape == (4,)
    assert DepthCounts.zeros().error.dtype == np.float64
    assert DepthCounts.zeros().cells.dtype == np.int64


def test_fields_add_up():
    one, two = VoxelCounts.zeros(2), VoxelCounts.zeros(2)
    one.frames, two.frames = 1, 2
    one.truth[:], two.truth[:] = (3, 4), (5, 6)
    total = ImageCounts(one, np.ones(2), np.ones(2, np.int64)) + ImageCounts(
        two, np.ones(2), np.ones(2, np.int64)
    )
    assert total.classes.frames == 3
    assert total.classes.truth.tolist() == [8, 10]
    assert total.depth_error.tolist() == [2, 2]
    # and neither of the two has changed
    assert one.truth.tolist() == [3, 4] and two.truth.tolist() == [5, 6]


def test_label_sets_and_kinds_do_not_mix():
    message = r'VoxelCounts.truth: expected shape \(2,\), got \(1,\)'
    with pytest.raises(ValueError, match=message):
        VoxelCounts.zeros(2) + VoxelCounts.zeros(1)
    with pytest.raises(TypeError):
        VoxelCounts.zeros(2) + InstanceCounts.zeros(2)


def test_single_classes_are_named(corridor):
    values = np.array([0.5, math.nan, 1.0])
    scores = of_classes('IoU', values, corridor, (2, 0))
    assert list(scores.items()) == [('IoU_road', 1.0), ('IoU_free', 0.5)]


def test_a_metric_without_classes_says_so():
    for name in ('spec', 'grid'):
        with pytest.raises(ValueError, match='DepthMetric knows of no'):
            getattr(DepthMetric(), name)
