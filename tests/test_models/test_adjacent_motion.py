"""VoxelSplatHead with AdjacentMotion: flow from other frames' labels.

That a network learns from it is shown in test_flow_without_labels.py.
"""

from dataclasses import replace

import pytest
import torch

from occsplat.models.render_heads import VoxelSplatHead
from occsplat.structures import (
    AdjacentFrames,
    CameraRig,
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(range=(-8, -8, -1, 8, 8, 2.2), shape=(40, 40, 8))
CAR, ROAD = 0, 10
FEATURES = 4
#: metres per second towards +x, of the car below
SPEED = 2.0


def make_head(grid=GRID, above=(dict(type='PlaneView'),), border=0.8):
    return VoxelSplatHead(
        'openocc',
        grid,
        motion=dict(
            type='AdjacentMotion',
            in_channels=FEATURES,
            above=above,
            border=border,
        ),
        scale=0.25,
        depth_weight=0.0,
        alpha_weight=1.0,
        flow_weight=1.0,
    )


def make_rig(ego_x=0.0):
    """A camera 1 m above a car that has driven ``ego_x`` along +x."""
    ref2cam = torch.tensor(
        [
            [0.0, -1.0, 0.0, 0.0],
            [0.0, 0.0, -1.0, 1.0],
            [1.0, 0.0, 0.0, -ego_x],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    K = torch.tensor([[30.0, 0, 24.0], [0, 30.0, 14.0], [0, 0, 1.0]])
    return CameraRig.from_matrices(ref2cam[None], K[None], 48, 28)


def town(car_x):
    """A road, and a car of 2 m x 1.2 m whose rear is at ``car_x``."""
    occ = torch.full(GRID.shape, SPEC.free)
    occ[:, :, :2] = ROAD
    x, y, z = GRID.centers().unbind(-1)
    inside = (x > car_x) & (x < car_x + 2.0) & (y.abs() < 0.6)
    occ[inside & (z > -0.2) & (z < 1.0)] = CAR
    return occ


def make_batch(times=(-0.5, 0.5), ego_speed=1.2, speed=SPEED, car_x=1.6):
    """The car drives, we drive after it; frames at other times."""
    frame2ref = torch.eye(4).repeat(len(times), 1, 1)
    frame2ref[:, 0, 3] = ego_speed * torch.tensor(times)
    occ = town(car_x)
    return OccBatch(
        metas=[{}],
        rig=CameraRig.stack([make_rig()]),
        gt_occ=occ[None],
        render_rig=CameraRig.stack([make_rig()]),
        render_dt=torch.zeros(1, 1),
        adjacent=[
            AdjacentFrames(
                CameraRig.stack([make_rig(ego_speed * t) for t in times]),
                frame2ref,
                torch.tensor(times),
                torch.stack(
                    # where the car is then, seen from where we are then
                    [town(car_x + (speed - ego_speed) * t) for t in times]
                ).to(torch.uint8),
            )
        ],
    )


def predict(occ, flow_x=0.0, sharpness=12.0):
    one_hot = torch.nn.functional.one_hot(occ, SPEC.num_classes)
    logits = sharpness * (2 * one_hot.permute(0, 4, 1, 2, 3).float() - 1)
    flow = torch.zeros(len(occ), 2, *occ.shape[1:])
    flow[:, 0] = flow_x
    features = torch.randn(len(occ), FEATURES, *occ.shape[1:])
    return OccPrediction(
        logits.requires_grad_(),
        flow.requires_grad_(),
        features=features.requires_grad_(),
    )


def moved_loss(head, batch, flow_x):
    torch.manual_seed(0)
    losses = head.loss(None, predict(batch.gt_occ, flow_x), batch)
    return sum(
        float(v.detach())
        for k, v in losses.items()
        if '_moved_' in k or '_bev_' in k
    )


def test_the_true_flow_costs_least():
    head, batch = make_head(), make_batch()
    costs = {f: moved_loss(head, batch, f) for f in (-2, 0, 1, 2, 3, 4)}
    assert min(costs, key=costs.get) == SPEED
    assert costs[SPEED] < 0.5 * costs[0]
    assert costs[-2] > costs[0]


def test_displacements_are_flow_times_the_time_between_frames():
    # the same labels claimed to be twice as far away in time: half as fast
    head, batch = make_head(), make_batch()
    batch.adjacent[0].dt *= 2
    costs = {f: moved_loss(head, batch, f) for f in (0, 1, 2, 3)}
    assert min(costs, key=costs.get) == SPEED / 2


def test_a_parked_car_seen_from_a_driving_one_has_no_flow():
    # flow is a velocity over ground, not relative to the ego
    head = make_head()
    batch = make_batch(speed=0.0, ego_speed=1.2)
    costs = {f: moved_loss(head, batch, f) for f in (-1.2, 0, 1.2)}
    assert min(costs, key=costs.get) == 0


def test_moved_states_teach_the_flow_and_nothing_else():
    head, batch = make_head(), make_batch()
    prediction = predict(batch.gt_occ, 1.0)
    losses = head.loss(None, prediction, batch)
    moved = sum(v for k, v in losses.items() if 'moved' in k or 'bev' in k)
    inputs = [prediction.flow, prediction.logits, prediction.features]
    grads = torch.autograd.grad(
        moved,
        [*inputs, *head.parameters()],
        allow_unused=True,
        retain_graph=True,
    )
    car = batch.gt_occ[0] == CAR
    assert grads[0][0, :, car].abs().max() > 0
    assert grads[0][0, :, ~car].abs().max() == 0
    assert all(g is None or not g.any() for g in grads[1:])
    # the current states teach classes, features and the decoder
    now = sum(v for k, v in losses.items() if 'static' in k or 'dynamic' in k)
    grads = torch.autograd.grad(now, [*inputs[1:], *head.parameters()])
    assert grads[0].abs().max() > 0
    # a last layer of zeros lets nothing through to what is before it
    names = [name for name, _ in head.named_parameters()]
    last = grads[2 + names.index('motion.decoder.mlp.2.weight')]
    assert last.abs().max() > 0


def test_warmup_moves_nothing_but_keeps_the_graph():
    head, batch = make_head(), make_batch()
    head.warmup = True
    prediction = predict(batch.gt_occ, 1.0)
    losses = head.loss(None, prediction, batch)
    assert not any('moved' in name or 'bev' in name for name in losses)
    grad = torch.autograd.grad(sum(losses.values()), prediction.flow)[0]
    assert not grad.any()


def test_frames_that_do_not_exist_teach_nothing():
    batch = make_batch()
    batch.adjacent[0].dt[:] = 0
    losses = make_head().loss(None, predict(batch.gt_occ), batch)
    assert not any('moved' in name for name in losses)


def test_what_drives_in_from_outside_is_not_held_against_the_flow():
    # the car of the next frame was beyond the grid's edge; it is at rest
    # in truth nowhere, so there is no flow that could explain it
    batch = make_batch(times=(0.5,))
    batch.gt_occ = town(100.0)[None]
    batch.adjacent[0].occ = town(-8.0)[None].to(torch.uint8)
    blind = moved_loss(make_head(border=2.8), batch, 0.0)
    assert blind == pytest.approx(0, abs=1e-4)
    assert moved_loss(make_head(border=0.4), batch, 0.0) > 0.01


def test_what_leaves_the_other_volume_is_not_compared():
    batch = make_batch(times=(0.5,), car_x=5.8, speed=6.0, ego_speed=0.0)
    assert not (batch.adjacent[0].occ == CAR).any()
    # beyond the edge it would be an error in every view
    assert moved_loss(make_head(border=0.4), batch, 6.0) == 0
    assert moved_loss(make_head(border=0.4), batch, 0.0) > 0.01


def test_voxels_without_a_label_are_unsure_and_so_are_those_near_them():
    head = make_head(border=0.8)
    occ = town(1.6)
    occ[:5] = SPEC.ignore
    unsure = head.motion._unsure(occ)
    assert unsure[:7].all() and unsure[:, :2].all() and unsure[-2:].all()
    assert not unsure[7:-2, 2:-2].any()


def test_no_flow_label_is_needed_or_used():
    head, batch = make_head(), make_batch()
    assert batch.gt_flow is None
    without = moved_loss(head, batch, 1.0)
    batch.gt_flow = torch.full((1, 2, *GRID.shape), 9.0)
    # all voxels are drawn, so that the balance changes nothing either
    assert moved_loss(head, batch, 1.0) == without


def test_every_movable_voxel_can_be_drawn_but_static_ones_must_be_seen():
    head, batch = make_head(), make_batch()
    visible = torch.zeros(GRID.shape, dtype=torch.bool)
    visible[:3] = True
    occ = batch.gt_occ[0]
    voxels = head.motion.sample_voxels(occ, None, visible)
    drawn = torch.zeros(GRID.num_voxels, dtype=torch.bool)
    drawn[voxels] = True
    drawn = drawn.view(GRID.shape)
    assert drawn[occ == CAR].all()
    assert torch.equal(drawn & (occ == ROAD), visible & (occ == ROAD))
    assert not drawn[occ == SPEC.free].any()


def test_a_mirrored_frame_mirrors_the_flow():
    batch = make_batch()
    mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    frames = batch.adjacent[0]
    batch.gt_occ = batch.gt_occ.flip(1)
    batch.render_rig = replace(
        batch.render_rig, ref2cam=batch.render_rig.ref2cam @ mirror
    )
    batch.adjacent = [
        replace(
            frames,
            rig=replace(frames.rig, ref2cam=frames.rig.ref2cam @ mirror),
            frame2ref=mirror @ frames.frame2ref,
        )
    ]
    head = make_head()
    costs = {f: moved_loss(head, batch, f) for f in (-3, -2, -1, 0, 2)}
    assert min(costs, key=costs.get) == -SPEED


def test_batches_pool_their_samples():
    head = make_head()
    batches = [make_batch(), make_batch(car_x=-2.0, speed=3.0)]
    both = OccBatch(
        metas=[{}, {}],
        rig=CameraRig.stack([make_rig()] * 2),
        gt_occ=torch.cat([b.gt_occ for b in batches]),
        render_rig=CameraRig.stack([make_rig()] * 2),
        adjacent=[b.adjacent[0] for b in batches],
    )
    alone = [moved_loss(head, b, 1.0) for b in batches]
    together = moved_loss(head, both, 1.0)
    assert min(alone) < together < max(alone)


@pytest.mark.parametrize('everything', [SPEC.free, SPEC.ignore])
def test_nothing_to_see_costs_nothing_and_has_gradients(everything):
    head, batch = make_head(), make_batch()
    prediction = predict(batch.gt_occ)
    batch.gt_occ = torch.full_like(batch.gt_occ, everything)
    losses = head.loss(None, prediction, batch)
    sum(losses.values()).backward()
    for name, value in losses.items():
        assert torch.isfinite(value), name
    parameters = [prediction.flow, *head.parameters()]
    # DistributedDataParallel waits for all of them
    assert all(p.grad is not None for p in parameters)


def test_adjacent_labels_on_another_grid_are_refused():
    batch = make_batch()
    batch.adjacent[0].occ = batch.adjacent[0].occ[:, ::2, ::2, ::2]
    with pytest.raises(ValueError, match=r'\(20, 20, 4\)'):
        make_head().loss(None, predict(batch.gt_occ), batch)


def test_views_from_above_need_names_of_their_own():
    with pytest.raises(ValueError, match='names'):
        make_head(above=[dict(type='PlaneView'), dict(type='PlaneView')])


@pytest.mark.parametrize('missing', ['adjacent', 'features'])
def test_what_is_missing_is_named(missing):
    batch = make_batch()
    prediction = predict(batch.gt_occ)
    if missing == 'adjacent':
        batch.adjacent, named = None, 'LoadAdjacentFrames'
    else:
        prediction.features, named = None, 'features'
    with pytest.raises(ValueError, match=named):
        make_head().loss(None, prediction, batch)


def test_options_of_the_other_motion_are_refused():
    for motion in (
        dict(type='LabelMotion', above=[dict(type='PlaneView')]),
        dict(type='AdjacentMotion', in_channels=4, move_seconds=1.0),
    ):
        with pytest.raises(TypeError, match='above|move_seconds'):
            VoxelSplatHead('openocc', GRID, motion=motion)
    with pytest.raises(TypeError, match='in_channels'):
        VoxelSplatHead('openocc', GRID, motion=dict(type='AdjacentMotion'))


def test_the_old_way_to_name_a_motion_says_the_new_one():
    with pytest.raises(ValueError, match=r"type='AdjacentMotion'.*'adjacent'"):
        VoxelSplatHead('openocc', GRID, motion='adjacent')
