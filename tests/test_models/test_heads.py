"""The occupancy head: shapes, mixing, losses, predictions."""

import pytest
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS

from occsplat.models.heads import OccHead
from occsplat.structures import (
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
)

SPEC = LabelSpec(
    name='toy',
    classes=('car', 'tree', 'person', 'free'),
    free=3,
    movable=(0, 2),
    palette=((0, 0, 0),) * 4,
    counts=(100, 1000, 50, 10000),
    grid=VoxelGrid(range=(0, 0, 0, 10, 6, 4), shape=(10, 6, 4)),
)
TERMS = {
    'loss_occ_focal',
    'loss_occ_sem_scal',
    'loss_occ_geo_scal',
    'loss_occ_lovasz',
}


def make_head(**kwargs):
    torch.manual_seed(0)
    args = dict(
        in_channels=6, channels=8, label_spec=SPEC, num_levels=2, upsample=2
    )
    return OccHead(**{**args, **kwargs})


def make_levels(shape=(5, 3, 2), batch=2, num=2, channels=6):
    gen = torch.Generator().manual_seed(1)
    return [
        torch.randn(
            batch, channels, *(-(-n // 2**i) for n in shape), generator=gen
        )
        for i in range(num)
    ]


def make_batch(shape=(2, 10, 6, 4), flow=True):
    gen = torch.Generator().manual_seed(2)
    occ = torch.randint(0, 4, shape, generator=gen)
    occ[:, 0] = 255
    vectors = torch.randn(shape[0], 2, *shape[1:], generator=gen)
    return OccBatch(
        metas=[], rig=None, gt_occ=occ, gt_flow=vectors if flow else None
    )


@pytest.mark.parametrize(
    ('upsample', 'shape'), [(1, (5, 3, 2)), (2, (10, 6, 4))]
)
@pytest.mark.parametrize('num_levels', [1, 2])
def test_shapes(upsample, shape, num_levels):
    head = make_head(upsample=upsample, num_levels=num_levels)
    prediction = head(make_levels(num=num_levels))
    assert prediction.logits.shape == (2, 4, *shape)
    assert prediction.flow.shape == (2, 2, *shape)
    assert prediction.features.shape == (2, 8, *shape)
    occ, flow = head.predict(prediction)
    assert occ.shape == (2, *shape)
    assert flow.shape == (2, *shape, 2)
    assert occ.dtype == torch.uint8


def test_without_flow():
    head = make_head(with_flow=False)
    prediction = head(make_levels())
    assert prediction.flow is None
    assert head.predict(prediction)[1] is None
    assert set(head.loss(prediction, make_batch(flow=False))) == TERMS


def test_mixing_equals_naive_sum_with_gradients():
    head = make_head(upsample=1).double().eval()
    levels = [x.double().requires_grad_() for x in make_levels()]
    maps = [conv(x) for conv, x in zip(head.level_convs, levels)]
    weights = head.mixer(maps[0])
    torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]))
    size = maps[0].shape[2:]
    expected = sum(
        F.interpolate(x, size, mode='trilinear') * weights[:, i : i + 1]
        for i, x in enumerate(maps)
    )
    actual = head(levels).features
    torch.testing.assert_close(actual, expected)
    cotangent = torch.randn_like(expected)
    for got, want in zip(
        torch.autograd.grad(actual, levels, cotangent),
        torch.autograd.grad(expected, levels, cotangent),
    ):
        torch.testing.assert_close(got, want)
        assert want.abs().max() > 1e-3


def test_resized_maps_are_not_kept_for_backward():
    head = make_head(num_levels=3)
    maps = make_levels((10, 6, 4), num=4, channels=8)
    maps = [x.requires_grad_() for x in maps]
    saved = []

    def pack(x):
        saved.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        head._mix(maps)
    wide = {x.data_ptr() for x in saved if x.shape == maps[0].shape}
    assert wide == {maps[0].data_ptr()}


def test_a_coarse_voxel_speaks_for_the_voxels_it_covers():
    head = make_head(num_levels=1).eval()
    levels = make_levels((8, 6, 4), num=1)
    before = head(levels).features
    levels[0][:, :, 5, 1, 2] += 10
    moved = (head(levels).features - before).abs().sum((0, 1)) > 0
    assert moved[10:12, 2:4, 4:6].all()
    # 3x3x3 convolution and interpolation reach 1.5 coarse voxels further
    moved[7:15, 0:7, 1:8] = False
    assert not moved.any()


def test_loss_keys_and_weights():
    head = make_head()
    prediction, batch = head(make_levels()), make_batch()
    losses = head.loss(prediction, batch)
    assert set(losses) == TERMS | {'loss_flow'}
    other = make_head(
        loss_weights=dict(focal=50.0, lovasz=0), flow_loss_weight=1.0
    )
    scaled = other.loss(prediction, batch)
    assert set(scaled) == set(losses) - {'loss_occ_lovasz'}
    torch.testing.assert_close(
        scaled['loss_occ_focal'], losses['loss_occ_focal'] / 2
    )
    torch.testing.assert_close(
        scaled['loss_occ_sem_scal'], losses['loss_occ_sem_scal']
    )
    torch.testing.assert_close(scaled['loss_flow'], losses['loss_flow'] * 2)


def test_half_precision_logits_do_not_overflow():
    head = make_head()
    prediction = head(make_levels())
    half = OccPrediction(prediction.logits.half(), prediction.flow.half())
    expected = head.loss(prediction, make_batch())
    for key, value in head.loss(half, make_batch()).items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[key], rtol=2e-2, atol=0)


@pytest.mark.parametrize('warmup', [True, False])
def test_warmup_mutes_the_flow_but_keeps_its_graph(warmup):
    head = make_head()
    head.warmup = warmup
    losses = head.loss(head(make_levels()), make_batch())
    assert (losses['loss_flow'] == 0) == warmup
    sum(losses.values()).backward()
    # distributed training waits for the gradient of every parameter
    assert all(p.grad is not None for p in head.parameters())
    assert head.flow_branch[2].weight.grad.any() != warmup
    assert head.occ_branch[1].weight.grad.any()


def test_training_lowers_the_loss():
    head, levels = make_head(), make_levels()
    occ = torch.full((2, 10, 6, 4), SPEC.free)
    occ[:, 4:6, 2:4, 2:4] = 0
    flow = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1, 1)
    batch = OccBatch(
        metas=[], rig=None, gt_occ=occ, gt_flow=flow * (occ == 0)[:, None]
    )
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    totals = []
    for _ in range(60):
        losses = head.loss(head(levels), batch)
        totals.append(sum(losses.values()))
        optimizer.zero_grad()
        totals[-1].backward()
        optimizer.step()
    assert totals[-1] < 0.3 * totals[0]
    predicted, moving = head.predict(head(levels))
    assert (predicted == occ).float().mean() > 0.97
    mean = moving[:, 4:6, 2:4, 2:4].mean((0, 1, 2, 3))
    torch.testing.assert_close(
        mean, torch.tensor([3.0, -1.0]), atol=1.0, rtol=0
    )


def test_predict_keeps_flow_of_movable_classes_only():
    logits = torch.zeros(1, 4, 4, 1, 1)
    for x in range(4):
        logits[0, x, x] = 1  # voxel x is of class x
    flow = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]).view(1, 2, 4, 1, 1)
    head = make_head()
    occ, moving = head.predict(OccPrediction(logits=logits, flow=flow))
    assert occ.flatten().tolist() == [0, 1, 2, 3]
    assert moving[0, :, 0, 0].tolist() == [[1, 5], [0, 0], [3, 7], [0, 0]]


def test_an_opacity_threshold_finds_faint_surfaces():
    """p(free) = 0.6, 0.2 and 0.95; the others share the rest unevenly."""
    probs = torch.tensor(
        [[0.1, 0.2, 0.01], [0.05, 0.5, 0.03], [0.25, 0.1, 0.01]]
    )
    free = SPEC.free
    others = [i for i in range(4) if i != free]
    logits = torch.empty(1, 4, 3, 1, 1)
    logits[0, others, :, 0, 0] = probs.log()
    logits[0, free, :, 0, 0] = (1 - probs.sum(0)).log()
    prediction = OccPrediction(logits=logits)
    plain, _ = make_head().predict(prediction)
    assert plain.flatten().tolist() == [free, others[1], free]
    low, _ = make_head(opacity_threshold=0.3).predict(prediction)
    assert low.flatten().tolist() == [others[2], others[1], free]
    high, _ = make_head(opacity_threshold=0.9).predict(prediction)
    assert high.flatten().tolist() == [free] * 3


def test_flow_follows_the_threshold():
    torch.manual_seed(0)
    prediction = OccPrediction(
        logits=torch.randn(2, 4, 3, 3, 2), flow=torch.randn(2, 2, 3, 3, 2)
    )
    head = make_head(opacity_threshold=0.7)
    occ, flow = head.predict(prediction)
    moves = torch.isin(occ.long(), torch.tensor(SPEC.movable))
    expected = prediction.flow.permute(0, 2, 3, 4, 1) * moves[..., None]
    assert torch.equal(flow, expected)
    assert 0 < moves.float().mean() < 1 and (occ == SPEC.free).any()
    # any other threshold from the same pass
    lower = head.opacity(prediction).at(0.2)
    single = make_head(opacity_threshold=0.2).predict(prediction)
    assert torch.equal(lower[0], single[0])
    assert torch.equal(lower[1], single[1])
    one = head.opacity(prediction)[1].at(0.2)
    assert torch.equal(one[0], lower[0][1])
    assert torch.equal(one[1], lower[1][1])


def test_label_spec_leaves_no_trace_in_the_state_dict():
    assert not {'movable', 'class_weight'} & set(make_head().state_dict())


def test_parameters_of_the_r50_recipe():
    """256-channel levels, 128-channel features, counted by hand."""
    head = MODELS.build(
        dict(type='OccHead', in_channels=256, label_spec='openocc')
    )
    expected = (
        256 * 128 * 8 + 2 * 128  # transposed convolution
        + 3 * (256 * 128 * 27 + 2 * 128)  # one convolution a level
        + 3 * (128 * 64 + 2 * 64)  # mixer, occupancy, flow: hidden layers
        + (64 + 1) * (4 + 17 + 2)  # and their outputs
    )  # fmt: skip
    assert sum(p.numel() for p in head.parameters()) == expected
    assert expected == 2_943_831


def test_errors_explain_the_mistake():
    with pytest.raises(ValueError, match='dice'):
        make_head(loss_weights=dict(dice=1.0))
    with pytest.raises(ValueError, match='at least 1, got 0'):
        make_head(upsample=0)
    with pytest.raises(ValueError, match='between 0 and 1, got 1.5'):
        make_head(opacity_threshold=1.5)
    head = make_head()
    with pytest.raises(ValueError, match='expects 2 levels, got 1'):
        head(make_levels(num=1))
    prediction = head(make_levels())
    with pytest.raises(ValueError, match='with_flow=False'):
        head.loss(prediction, make_batch(flow=False))
    with pytest.raises(ValueError, match='gt_occ: expected shape'):
        head.loss(prediction, make_batch((2, 6, 10, 4)))
    batch = make_batch()
    batch.gt_occ[0, 1, 1, 1] = 4
    with pytest.raises(ValueError, match='knows 0..3 and 255'):
        head.loss(prediction, batch)


def test_a_single_map_is_the_features():
    head = make_head(num_levels=1, upsample=1, level_kernel=1)
    assert head.mixer is None
    levels = make_levels(shape=(10, 6, 4), num=1)
    prediction = head(levels)
    torch.testing.assert_close(
        prediction.features, head.level_convs[0](levels[0])
    )
    # pointwise from end to end: a voxel changes nothing but itself, but for
    # the statistics of the norms
    head.eval()
    before = head(levels).logits
    levels[0][:, :, 3, 2, 1] += 1
    changed = (head(levels).logits != before).any(dim=1)
    assert changed[:, 3, 2, 1].all() and changed.sum() == 2


def test_a_cross_entropy_that_balances_classes():
    only = dict(focal=0, sem_scal=0, geo_scal=0, lovasz=0, cross_entropy=2.0)
    head = make_head(loss_weights=only, class_counts=(10, 90, 100, 9800))
    prediction, batch = head(make_levels()), make_batch()
    losses = head.loss(prediction, batch)
    assert set(losses) == {'loss_occ_cross_entropy', 'loss_flow'}
    known = batch.gt_occ != 255
    weight = torch.tensor([*((2500 / n) ** 0.3 for n in (10, 90, 100)), 2])
    label = batch.gt_occ[known]
    log_p = prediction.logits.log_softmax(1).movedim(1, -1)[known]
    weight = weight[label]
    expected = (weight * -log_p[torch.arange(len(label)), label]).sum()
    torch.testing.assert_close(
        losses['loss_occ_cross_entropy'], 2 * expected / weight.sum()
    )
