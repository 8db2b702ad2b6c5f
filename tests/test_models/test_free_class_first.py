"""Numbering the classes otherwise changes no loss, metric or picture.

SurroundOcc counts from free = 0, OpenOcc ends with it. Whatever takes the
free class for the last one, or id 0 for an occupied one, shows here.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from occsplat.evaluation import count_rays, count_voxels, lidar_rays
from occsplat.models.heads.occ_head import OccHead
from occsplat.models.render_heads.voxelsplat_head import VoxelSplatHead
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
)
from occsplat.visualization import bev_image
from occsplat.visualization.bev import BevMap

GRID = VoxelGrid(range=(-8, -8, -2, 8, 8, 2), shape=(16, 16, 4))
LAST = LabelSpec.named('openocc')


def rolled(values):
    """By id, with the last one moved to the front."""
    return (values[-1], *values[:-1])


FIRST = replace(
    LAST,
    name='free first',
    classes=rolled(LAST.classes),
    free=0,
    movable=tuple(i + 1 for i in LAST.movable),
    palette=rolled(LAST.palette),
    counts=rolled(LAST.counts),
)


def renumbered(occ):
    """Ids of LAST as ids of FIRST; 255 stays."""
    return torch.where(occ == 255, 255, (occ + 1) % 17).to(occ.dtype)


@pytest.fixture
def scene():
    """Labels with every class and ignored voxels, and a prediction."""
    torch.manual_seed(0)
    shape = (2, *GRID.shape)
    occ = torch.randint(0, 17, shape)
    occ[torch.rand(shape) < 0.6] = 16
    occ[torch.rand(shape) < 0.1] = 255
    logits, flow = (
        torch.randn(2, 17, *GRID.shape),
        torch.randn(2, 2, *shape[1:]),
    )
    ref2cam = torch.tensor(
        [[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 6], [0, 0, 0, 1]]
    )
    K = torch.tensor([[20.0, 0, 16], [0, 20, 8], [0, 0, 1]])
    rig = CameraRig.from_matrices(
        ref2cam.expand(2, 1, 4, 4), K.expand(2, 1, 3, 3), 32, 16
    )

    def batch(ids):
        return OccBatch(
            metas=[{}, {}],
            rig=rig,
            gt_occ=ids,
            gt_flow=flow.roll(1, 2),
            render_rig=rig,
        )

    moved = logits.roll(1, 1)
    return (
        (LAST, OccPrediction(logits, flow), batch(occ)),
        (FIRST, OccPrediction(moved, flow), batch(renumbered(occ))),
    )


def test_losses(scene):
    values = []
    for spec, prediction, batch in scene:
        head = OccHead(8, label_spec=spec, num_levels=1, channels=8)
        render = VoxelSplatHead(spec, grid=GRID, scale=0.5, backend='torch')
        losses = head.loss(prediction, batch)
        losses.update(render.loss(None, prediction, batch))
        values.append({k: v.item() for k, v in losses.items()})
    assert len(values[0]) == 8 and min(values[0].values()) > 0
    assert values[1] == pytest.approx(values[0], rel=1e-4)


def test_predictions_and_priors(scene):
    volumes = []
    for spec, prediction, _ in scene:
        head = OccHead(8, label_spec=spec, num_levels=1, channels=8)
        bias = head.occ_branch[-1].bias
        assert bias.argmax() == spec.free
        volumes.append(head.predict(prediction))
    assert torch.equal(renumbered(volumes[0][0]), volumes[1][0])
    assert torch.equal(volumes[0][1], volumes[1][1])


def test_metrics(scene):
    origins = torch.tensor([[0.1, 0.2, 0.3], [2.3, -1.2, 0.6]])
    kept, found = torch.rand(GRID.shape) < 0.7, []
    for spec, prediction, batch in scene:
        guess = prediction.logits[0].argmax(dim=0)
        truth = batch.gt_occ[0].clone()
        right = kept & (truth != 255)
        guess[right] = truth[right]
        # rays that hit nothing, in the truth and in the prediction
        guess[:, 8:] = truth[12:] = spec.free
        rays = count_rays(guess, truth, origins, lidar_rays()[::7], spec, GRID)
        found.append(
            {
                **rays.summary(spec, flow=False),
                **count_voxels(guess, truth, spec).summary(spec),
            }
        )
    assert found[0]['RayIoU'] > 0 and found[0]['mIoU'] > 0
    assert found[1] == pytest.approx(found[0], nan_ok=True)


def test_pictures(scene):
    view = BevMap(GRID)
    pictures = [
        bev_image(
            batch.gt_occ[0].numpy(),
            spec,
            view,
            flow=prediction.flow[0].permute(1, 2, 3, 0).numpy(),
        )
        for spec, prediction, batch in scene
    ]
    np.testing.assert_array_equal(*pictures)
