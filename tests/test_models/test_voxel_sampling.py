"""Which voxels become Gaussians."""

import pytest
import torch

from occsplat.models.render_heads.voxel_sampling import (
    GroupBalance,
    MarginalBalance,
    draw_voxels,
    speed_group,
)
from occsplat.structures import LabelSpec, LabelStatistics

SPEC = LabelSpec.named('openocc')
CAR, TRUCK, ROAD = 0, 1, 10


def statistics(**rows):
    """Counts of a few classes in two speed groups, others never seen."""
    counts = [[0, 0] for _ in SPEC.classes]
    for name, row in rows.items():
        counts[SPEC.classes.index(name)] = row
    return LabelStatistics(
        SPEC.classes, (0.0, 2.0), tuple(map(tuple, counts)), frames=1
    )


def test_standing_still_is_the_slowest_group():
    speed = torch.tensor([0.0, 0.9, 1.0, 4.9, 5.0, 40.0])
    group = speed_group(speed, (0.0, 1.0, 2.0, 5.0, 10.0))
    assert group.tolist() == [0, 0, 1, 2, 3, 4]


def test_marginal_weights_are_those_of_the_counts():
    balance = MarginalBalance(SPEC, statistics(car=[100, 44], truck=[25, 0]))
    classes = torch.tensor([CAR, TRUCK, CAR])
    weight = balance(classes, torch.tensor([0.0, 0.0, 3.0]))
    # classes 1/sqrt(144) and 1/sqrt(25), speeds 1/sqrt(125), 1/sqrt(44)
    assert weight[1] / weight[0] == pytest.approx(12 / 5)
    assert weight[2] / weight[0] == pytest.approx((125 / 44) ** 0.5)


def test_published_counts_are_the_default():
    weight = MarginalBalance(SPEC)(torch.tensor([CAR, ROAD]), None)
    ratio = (SPEC.counts[ROAD] / SPEC.counts[CAR]) ** 0.5
    assert weight[0] / weight[1] == pytest.approx(ratio)


@pytest.mark.parametrize('exponent', [0.0, 0.5, 1.0])
def test_group_weights_count_the_voxels_at_hand(exponent):
    # 3 parked cars, 1 fast car, 2 pieces of road
    classes = torch.tensor([CAR, CAR, CAR, CAR, ROAD, ROAD])
    speed = torch.tensor([0.0, 0.0, 0.0, 12.0, 0.0, 0.0])
    weight = GroupBalance(SPEC, exponent=exponent)(classes, speed)
    counts = torch.tensor([3.0, 3, 3, 1, 2, 2])
    torch.testing.assert_close(weight, 1 / (counts**exponent + 1))
    # without a speed there is one group of cars
    weight = GroupBalance(SPEC, exponent=exponent)(classes, None)
    counts = torch.tensor([4.0, 4, 4, 4, 2, 2])
    torch.testing.assert_close(weight, 1 / (counts**exponent + 1))


def test_group_weights_of_a_training_split():
    counted = statistics(car=[7, 1])
    balance = GroupBalance(SPEC, counted)
    classes = torch.tensor([CAR, CAR])
    weight = balance(classes, torch.tensor([1.9, 2.0]))
    assert weight.tolist() == pytest.approx([1 / 8, 1 / 2])
    assert balance(classes, None).tolist() == pytest.approx([1 / 9] * 2)


def test_no_voxel_is_drawn_twice_and_none_that_is_no_candidate():
    torch.manual_seed(0)
    classes = torch.full((200,), ROAD)
    candidates = torch.arange(200) % 2 == 0
    drawn = draw_voxels(candidates, 60, GroupBalance(SPEC), classes, None)
    assert len(drawn.unique()) == 60
    assert (drawn % 2 == 0).all()
    # fewer than asked for: all of them, and nothing else
    drawn = draw_voxels(candidates, 150, GroupBalance(SPEC), classes, None)
    assert torch.equal(drawn, candidates.nonzero()[:, 0])
    none = torch.zeros_like(candidates)
    assert len(draw_voxels(none, 9, GroupBalance(SPEC), classes, None)) == 0


def test_rare_groups_are_drawn_more_often_than_their_share():
    torch.manual_seed(0)
    classes = torch.full((1000,), ROAD)
    classes[:20] = CAR
    drawn = draw_voxels(
        torch.ones(1000, dtype=torch.bool),
        100,
        GroupBalance(SPEC),
        classes,
        None,
    )
    # 20 of 1000 would be 2 of 100
    assert (drawn < 20).sum() > 15
