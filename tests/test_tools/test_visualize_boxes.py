"""The sheet of boxes shows instances, found boxes and annotated ones."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from occsplat.structures import LabelSpec, OccDataSample

SPEC = LabelSpec.named('openocc')
CAR, ROAD = 0, 10


@pytest.fixture
def tool(monkeypatch):
    tools = Path(__file__).parents[2] / 'tools'
    monkeypatch.syspath_prepend(str(tools))
    return importlib.import_module('visualize_boxes')


def two_cars():
    occ = torch.full((100, 100, 8), SPEC.free, dtype=torch.uint8)
    occ[:, 40:60, 1] = ROAD
    occ[70:76, 52:55, 2:4] = CAR
    occ[60:66, 45:48, 2:4] = CAR
    sample = OccDataSample()
    sample.gt_occ = occ
    return sample


def test_each_instance_has_a_colour_and_the_rest_is_gray(tool):
    occ = two_cars().gt_occ.numpy()
    ids = np.zeros(occ.shape, np.int32)
    ids[70:76, 52:55, 2:4] = 1
    ids[60:66, 45:48, 2:4] = 2
    colors = tool.instance_colors(occ, ids, SPEC)
    one, two = colors[70, 52, 2], colors[60, 45, 2]
    assert (colors[ids == 1] == one).all() and (colors[ids == 2] == two).all()
    assert (one != two).any()
    road = colors[occ == ROAD]
    assert (road == road[:, :1]).all() and road.max() < one.min()


def test_labels_are_drawn_without_a_checkpoint(tool):
    sample = tool.labels_as_prediction(two_cars())
    without = tool.boxes_sheet(sample, SPEC, 'labels')
    sample.gt_boxes = torch.tensor([[20.0, 2, 1, 4.8, 2.4, 1.6, 0]])
    sample.gt_box_labels = torch.tensor([CAR])
    sample.gt_box_velocities = torch.zeros(1, 2)
    annotated = tool.boxes_sheet(sample, SPEC, 'labels')
    assert annotated.shape != without.shape


def test_no_labels_and_no_checkpoint_is_an_error(tool):
    with pytest.raises(tool.ConfigError, match='LoadOccLabels'):
        tool.labels_as_prediction(OccDataSample())
