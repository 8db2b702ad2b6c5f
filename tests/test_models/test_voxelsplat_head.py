"""VoxelSplatHead: sampling, conventions and the three terms."""

import pytest
import torch

from occsplat.models.render_heads.render_state import opaque
from occsplat.models.render_heads.voxelsplat_head import VoxelSplatHead
from occsplat.rendering import render_labels
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(range=(0, -4, -1, 12, 4, 2.2), shape=(15, 10, 4))
CAR, ROAD = 0, 10


def make_head(**kwargs):
    return VoxelSplatHead('openocc', GRID, scale=0.25, **kwargs)


def make_rig(offset=0.0):
    """A camera 1 m above the ego origin that looks along +x."""
    ref2cam = torch.tensor(
        [
            [0.0, -1.0, 0.0, offset],
            [0.0, 0.0, -1.0, 1.0],
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    K = torch.tensor([[30.0, 0, 24.0], [0, 30.0, 14.0], [0, 0, 1.0]])
    return CameraRig.from_matrices(ref2cam[None], K[None], 48, 28)


def make_batch(batch_size=1, with_flow=True):
    occ = torch.full((batch_size, *GRID.shape), SPEC.free)
    occ[:, :, :, 0] = ROAD
    occ[:, 9:12, 6:8, 1:3] = CAR
    flow = torch.zeros(batch_size, 2, *GRID.shape)
    flow[:, 1][occ == CAR] = -1.5
    rig = CameraRig.stack([make_rig()] * batch_size)
    return OccBatch(
        metas=[{}] * batch_size,
        rig=rig,
        gt_occ=occ,
        gt_flow=flow if with_flow else None,
        render_rig=rig,
        render_dt=torch.zeros(batch_size, 1),
    )


def true_gaussians(batch):
    """All labelled voxels of the first sample, their channels and flow."""
    channels = SPEC.channels_of(batch.gt_occ[0].flatten())
    voxels = (channels >= 0).nonzero()[:, 0]
    flow = batch.gt_flow[0].flatten(1)[:, voxels].T
    return opaque(GRID, 0.25, voxels), channels[voxels], flow


def perfect_prediction(batch, sharpness=12.0):
    one_hot = torch.nn.functional.one_hot(batch.gt_occ, SPEC.num_classes)
    logits = sharpness * (2 * one_hot.permute(0, 4, 1, 2, 3).float() - 1)
    flow = batch.gt_flow
    return OccPrediction(
        logits.requires_grad_(),
        None if flow is None else flow.clone().requires_grad_(),
    )


def test_a_perfect_prediction_costs_next_to_nothing():
    batch = make_batch()
    good = make_head().loss(None, perfect_prediction(batch), batch)
    bad_prediction = perfect_prediction(batch)
    bad_prediction.logits.data.zero_()
    bad_prediction.flow.data.zero_()
    bad = make_head().loss(None, bad_prediction, batch)
    assert set(good) == {
        'loss_voxelsplat_semantic',
        'loss_voxelsplat_depth',
        'loss_voxelsplat_flow',
    }
    for name, value in good.items():
        # soft targets at the borders of things keep some entropy
        assert value < (0.06 if 'semantic' in name else 0.02), name
        assert bad[name] > 10 * value, name


def test_labels_appear_where_the_camera_sees_them():
    # a camera matrix with flipped axes renders what lies behind it
    batch = make_batch()
    out = render_labels(*true_gaussians(batch)[:2], 16, batch.render_rig[0])
    center = GRID.centers()[10, 6, 1]
    uv, depth = batch.render_rig[0].project(center[None])
    column, row = uv[0, 0].long().tolist()
    assert out.features[0, row, column, :16].argmax() == CAR
    assert abs(float(out.depth[0, row, column]) - float(depth)) < 1.0
    assert out.features[0, -1, 24, :16].argmax() == ROAD
    assert out.alpha[0, 0].max() == 0  # the sky is empty


def test_a_moved_car_appears_further_right():
    # it drives towards -y, which is to the right in the image
    batch = make_batch()
    still, labels, flow = true_gaussians(batch)
    columns = torch.arange(48.0) + 0.5

    def mean_column(gaussians):
        out = render_labels(gaussians, labels, 16, batch.render_rig[0])
        weight = out.features[0, ..., CAR].sum(0)
        return float((weight * columns).sum() / weight.sum())

    # about 30 px * 1.5 m / 8 m
    shift = mean_column(still.moved(flow)) - mean_column(still)
    assert shift == pytest.approx(30 * 1.5 / 8.4, rel=0.15)


def test_wrong_flow_is_punished_through_the_moved_state():
    batch, head = make_batch(), make_head()
    prediction = perfect_prediction(batch)
    right = head.loss(None, prediction, batch)
    prediction.flow.data[:, 1] *= -1
    wrong = head.loss(None, prediction, batch)
    for name in right:
        assert wrong[name] > 2 * right[name], name


def test_gradients_reach_classes_opacity_and_flow_geometry():
    batch = make_batch()
    prediction = perfect_prediction(batch, sharpness=1.0)
    prediction.flow.data += 0.3
    losses = make_head().loss(None, prediction, batch)
    grads = torch.autograd.grad(
        losses['loss_voxelsplat_semantic'],
        [prediction.logits, prediction.flow],
    )
    occupied = batch.gt_occ[0] == CAR
    assert grads[0][0, SPEC.free][occupied].abs().max() > 0
    assert grads[0][0, CAR][occupied].abs().max() > 0
    # the semantic term has no flow channel: this gradient is geometry's
    assert grads[1][0, 1][occupied].abs().max() > 0


def test_warmup_renders_the_current_state_without_flow():
    batch, head = make_batch(), make_head()
    prediction = perfect_prediction(batch)
    prediction.flow.data += 3.0
    head.warmup = True
    losses = head.loss(None, prediction, batch)
    assert losses['loss_voxelsplat_flow'] == 0
    grad = torch.autograd.grad(
        sum(losses.values()), prediction.flow, allow_unused=True
    )[0]
    assert grad is None or grad.abs().max() == 0


def test_labels_without_flow_still_train_semantics():
    batch = make_batch(with_flow=False)
    losses = make_head().loss(None, perfect_prediction(batch), batch)
    assert set(losses) == {
        'loss_voxelsplat_semantic',
        'loss_voxelsplat_depth',
    }


def test_batches_pool_their_pixels():
    batch = make_batch(2)
    losses = make_head().loss(None, perfect_prediction(batch, 2.0), batch)
    single = make_batch(1)
    alone = make_head().loss(None, perfect_prediction(single, 2.0), single)
    for name in losses:
        torch.testing.assert_close(losses[name], alone[name])


def test_only_visible_known_voxels_are_sampled():
    batch = make_batch()
    visible = torch.zeros(GRID.shape, dtype=torch.bool)
    visible[:5] = True
    occ = batch.gt_occ[0].clone()
    occ[:2] = SPEC.ignore
    head = make_head(num_samples=20)
    voxels = head.motion.sample_voxels(occ, batch.gt_flow[0], visible)
    assert len(voxels) == 20 == len(voxels.unique())
    assert visible.flatten()[voxels].all()
    assert (occ.flatten()[voxels] != SPEC.ignore).all()


def test_fewer_voxels_than_asked_for_are_all_taken_once():
    batch = make_batch()
    visible = torch.zeros(GRID.shape, dtype=torch.bool)
    visible[3, 4] = True
    voxels = make_head(num_samples=1000).motion.sample_voxels(
        batch.gt_occ[0], batch.gt_flow[0], visible
    )
    assert len(voxels) == GRID.shape[2]


def test_static_voxels_are_drawn_less_than_fast_ones():
    # an off-by-one bin gave a speed of exactly 0 the fastest group's
    # weight, i.e. static voxels were preferred
    torch.manual_seed(0)
    occ = torch.full(GRID.shape, CAR)
    flow = torch.zeros(2, *GRID.shape)
    flow[0, :, 5:] = 7.0
    head = make_head(num_samples=60)
    drawn = torch.zeros(GRID.num_voxels)
    for _ in range(20):
        drawn[head.motion.sample_voxels(occ, flow, None)] += 1
    moving = (flow[0] > 0).flatten()
    assert drawn[moving].sum() > 10 * drawn[~moving].sum()


def test_the_head_adds_no_parameters():
    assert not make_head().state_dict()


def test_missing_render_views_are_named():
    batch = make_batch()
    prediction = perfect_prediction(batch)
    batch.render_rig = None
    with pytest.raises(ValueError, match='RenderViews'):
        make_head().loss(None, prediction, batch)


def test_a_prediction_on_another_grid_is_refused():
    batch = make_batch()
    prediction = OccPrediction(torch.zeros(1, 17, 4, 4, 4))
    with pytest.raises(ValueError, match=r'\(15, 10, 4\)'):
        make_head().loss(None, prediction, batch)
