"""Voxel IoUs on cases counted by hand."""

import math

import numpy as np
import pytest
import torch

from occsplat.evaluation import VoxelCounts, count_voxels
from occsplat.structures import LabelSpec, VoxelGrid

SPEC = LabelSpec(
    name='road scene',
    classes=('car', 'road', 'free'),
    free=2,
    movable=(0,),
    palette=((0, 0, 0),) * 3,
    counts=(1, 1, 1),
    grid=VoxelGrid(range=(0, 0, 0, 6, 1, 1), shape=(6, 1, 1)),
)

# car car car road free free
TRUTH = torch.tensor([0, 0, 0, 1, 2, 2], dtype=torch.uint8).reshape(6, 1, 1)
# car free road car free car
PRED = torch.tensor([0, 2, 1, 0, 2, 0], dtype=torch.uint8).reshape(6, 1, 1)


def test_by_hand():
    counts = count_voxels(PRED, TRUTH, SPEC)
    assert counts.truth.tolist() == [3, 1, 2]
    assert counts.predicted.tolist() == [3, 1, 2]
    assert counts.matched.tolist() == [1, 0, 1]
    scores = counts.summary(SPEC)
    assert scores['mIoU_car'] == pytest.approx(1 / 5)
    assert scores['mIoU_road'] == 0
    # free does not enter the mean
    assert scores['mIoU'] == pytest.approx(1 / 10)
    assert 'mIoU_free' not in scores
    # occupied in both: 0, 2, 3; in either: 0, 1, 2, 3, 5
    assert scores['IoU'] == pytest.approx(3 / 5)


def test_mask_and_ignore():
    mask = torch.tensor([1, 1, 0, 0, 1, 1]).bool().reshape(6, 1, 1)
    scores = count_voxels(PRED, TRUTH, SPEC, mask).summary(SPEC)
    assert scores['mIoU'] == scores['mIoU_car'] == pytest.approx(1 / 3)
    assert scores['IoU'] == pytest.approx(1 / 3)
    ignored = torch.where(mask, TRUTH, torch.tensor(255, dtype=torch.uint8))
    same = count_voxels(PRED, ignored, SPEC).summary(SPEC)
    assert math.isnan(same.pop('mIoU_road'))
    assert same == {k: v for k, v in scores.items() if k in same}


def test_sum_of_counts_equals_one_pass():
    parts = sum(
        (
            count_voxels(PRED[i : i + 2], TRUTH[i : i + 2], SPEC)
            for i in (0, 2, 4)
        ),
        VoxelCounts.zeros(SPEC.num_classes),
    )
    whole = count_voxels(PRED, TRUTH, SPEC)
    for name in ('voxels', 'truth', 'predicted', 'matched', 'both', 'either'):
        np.testing.assert_array_equal(
            getattr(parts, name), getattr(whole, name)
        )
    assert parts.summary(SPEC) == whole.summary(SPEC)


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        count_voxels(PRED[:3], TRUTH, SPEC)
    with pytest.raises(ValueError, match='mask: expected shape'):
        count_voxels(PRED, TRUTH, SPEC, TRUTH[:3])
    with pytest.raises(ValueError, match='gt_occ holds class id 9'):
        count_voxels(PRED, TRUTH + 7, SPEC)
