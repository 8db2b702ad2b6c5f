"""The sheet of virtual views shows what there is."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from occsplat.models.render_heads.camera_strategies import Scene
from occsplat.models.render_heads.virtual_views import PlaneView
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(SPEC.grid.range, (100, 100, 8))
CAR, ROAD = 0, 10


@pytest.fixture
def tool(monkeypatch):
    tools = Path(__file__).parents[2] / 'tools'
    monkeypatch.syspath_prepend(str(tools))
    return importlib.import_module('visualize_views')


def make_sample():
    """A road with a car ahead and to the left; a prediction without it."""
    occ = torch.full(GRID.shape, SPEC.free, dtype=torch.uint8)
    occ[:, 40:60, 1] = ROAD
    sample = OccDataSample()
    sample.pred_occ = occ.clone()
    occ[70:76, 52:55, 2:4] = CAR
    sample.gt_occ = occ
    return sample


def make_rig():
    ref2cam = torch.tensor(
        [[0.0, -1, 0, 0], [0, 0, -1, 1.6], [1, 0, 0, 0], [0, 0, 0, 1]]
    )
    K = torch.tensor([[60.0, 0, 40], [0, 60, 22], [0, 0, 1]])
    return CameraRig.from_matrices(ref2cam[None], K[None], 80, 44)


def has_color(image, label):
    color = np.array(SPEC.palette[label], np.uint8)
    return bool((image == color).all(axis=-1).any())


def test_a_row_tells_truth_from_prediction(tool):
    sample, rig = make_sample(), make_rig()
    scene = Scene(rig, GRID, torch.zeros(0, 3), torch.zeros(GRID.shape))
    views = PlaneView(pixels_per_voxel=2)(scene, None).cameras
    truth, guess, depth = tool._row(
        'plane', views, GRID, sample.gt_occ, sample.pred_occ, SPEC
    )
    assert truth[1].shape == guess[1].shape == depth[1].shape == (200, 200, 3)
    # x = 73 of 100 is column 146; y = 53 of 100 from the left is row 93
    assert truth[1][93, 146].tolist() == list(SPEC.palette[CAR])
    assert guess[1][93, 146].tolist() == list(SPEC.palette[ROAD])
    # the car's roof is nearer than the road, and nearer is brighter
    assert depth[1][93, 146, 0] > depth[1][93, 20, 0] > 0
    assert depth[1][10, 100, 0] == 0


def test_a_sheet_has_every_strategy(tool):
    generator = torch.Generator().manual_seed(0)
    sheet = tool.views_sheet(make_sample(), make_rig(), SPEC, generator)
    assert sheet.shape[1:] == (1920, 3)
    left, right = sheet[:, :640], sheet[:, 640:1280]
    assert has_color(left, CAR) and has_color(left, ROAD)
    assert has_color(right, ROAD)
    again = tool.views_sheet(
        make_sample(), make_rig(), SPEC, torch.Generator().manual_seed(0)
    )
    assert np.array_equal(sheet, again)
