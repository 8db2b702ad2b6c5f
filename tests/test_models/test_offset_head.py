"""The offset head: metres, cells, losses and what it passes on."""

import pytest
import torch

from occsplat.models.heads import OffsetHead
from occsplat.models.losses import offset_l1_loss
from occsplat.structures import (
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
)

SPEC = LabelSpec(
    name='toy',
    classes=('car', 'tree', 'free'),
    free=2,
    movable=(0,),
    palette=((0, 0, 0),) * 3,
    counts=(100, 1000, 10000),
    grid=VoxelGrid(range=(-4, 1, -1, 4, 5, 1), shape=(16, 4, 8)),
)
#: metres along x+ x- y+ y- z+ z-
EXTENT = torch.tensor([8.0, 8.0, 4.0, 4.0, 2.0, 2.0])
NORM = dict(type='GN', num_groups=2)
ENCODER = dict(
    type='SpatiallyDecoupledEncoder',
    channels=4,
    in_levels=2,
    num_levels=2,
    norm_cfg=NORM,
)
AGGREGATION = dict(
    type='InstanceAggregation',
    in_channels=4,
    channels=4,
    num_layers=2,
    norm_cfg=NORM,
)
AUX_HEAD = dict(
    type='OccHead',
    label_spec=SPEC,
    num_levels=1,
    in_channels=4,
    channels=4,
    upsample=2,
    with_flow=False,
    norm_cfg=NORM,
)


def make_head(**kwargs):
    torch.manual_seed(0)
    args = dict(in_channels=4, label_spec=SPEC, channels=4, norm_cfg=NORM)
    head = OffsetHead(**{**args, **kwargs})
    if head.encoder is not None:
        for branch in head.encoder.branches.values():
            # a new one adds nothing to what the host gives
            torch.nn.init.ones_(branch.gain)
    if head.aggregation is not None:
        for layer in head.aggregation.layers:
            layer.output.reset_parameters()
    return head


def make_levels(batch=2):
    gen = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, 4, *shape, generator=gen)
        for shape in ((8, 4, 4), (4, 2, 2))
    ]


def make_batch(cells=(8, 2, 4), batch=2):
    """Random run lengths; the first cells along x are unknown."""
    gen = torch.Generator().manual_seed(2)
    share = torch.rand(batch, 6, *cells, generator=gen)
    share[:, :, :2] = 0
    occ = torch.randint(0, 3, (batch, 16, 4, 8), generator=gen)
    return OccBatch(
        metas=[],
        rig=None,
        gt_occ=occ,
        gt_offsets=share * EXTENT.view(6, 1, 1, 1),
        gt_censored=torch.rand(share.shape, generator=gen) < 0.3,
    )


def predicted(offsets):
    return OccPrediction(logits=None, offsets=offsets)


# -- offsets ---------------------------------------------------------------


@pytest.mark.parametrize('logit, share', [(-60.0, 0.0), (0.0, 0.5), (60, 1)])
def test_a_sigmoid_shares_the_axis_of_its_direction(logit, share):
    head = make_head()
    torch.nn.init.zeros_(head.branch[-1].weight)
    torch.nn.init.constant_(head.branch[-1].bias, logit)
    _, offsets = head(make_levels())
    assert offsets.shape == (2, 6, 8, 2, 4)
    expected = share * EXTENT.view(6, 1, 1, 1).expand(offsets.shape)
    torch.testing.assert_close(offsets, expected)


def test_offsets_start_at_a_tenth_of_the_axis():
    head = make_head()
    _, offsets = head(make_levels())
    mean = (offsets.mean(dim=(0, 2, 3, 4)) / EXTENT).detach()
    torch.testing.assert_close(mean, torch.full((6,), 0.1), atol=0.05, rtol=0)
    torch.nn.init.zeros_(head.branch[-1].weight)
    _, offsets = head(make_levels())
    share = offsets / EXTENT.view(6, 1, 1, 1)
    torch.testing.assert_close(share, torch.full_like(share, 0.1))


@pytest.mark.parametrize('stride', [1, 2, 4])
@pytest.mark.parametrize('shape', [(16, 4, 8), (32, 8, 16)])
def test_offsets_are_read_where_their_voxels_stand(shape, stride):
    head = make_head(stride=stride)
    head.branch = torch.nn.Identity()  # logits are what comes in
    codes = VoxelGrid(SPEC.grid.range, shape).centers().permute(3, 0, 1, 2)
    _, offsets = head([codes.repeat_interleave(2, dim=0)[None]])
    every = SPEC.grid.centers()[::stride, ::stride, ::stride]
    logits = every.permute(3, 0, 1, 2).repeat_interleave(2, dim=0)
    expected = logits.sigmoid() * EXTENT.view(6, 1, 1, 1)
    torch.testing.assert_close(offsets[0], expected)


def test_a_coarse_volume_speaks_up_to_its_border():
    head = make_head(stride=2)
    head.branch = torch.nn.Identity()
    _, offsets = head([torch.full((1, 6, 4, 2, 2), 60.0)])
    # padded with zeros the border would hold a logit of less than 60
    expected = EXTENT.view(6, 1, 1, 1).expand(offsets[0].shape)
    torch.testing.assert_close(offsets[0], expected)


# -- what the host's head reads --------------------------------------------


def test_without_encoder_and_aggregation_levels_pass_untouched():
    levels = make_levels()
    out, _ = make_head()(levels)
    assert out is levels


def test_the_encoder_gives_each_task_its_own_level():
    head = make_head(encoder=ENCODER)
    levels = make_levels()
    classes, regress = head.encoder(levels)
    out, offsets = head(levels)
    for got, want in zip(out, classes, strict=True):
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(offsets, head._offsets(regress))
    assert not torch.allclose(offsets, head._offsets(classes[0]))


def test_the_aggregation_changes_the_finest_level_alone():
    head = make_head(aggregation=AGGREGATION)
    levels = make_levels()
    (finest, coarse), offsets = head(levels)
    assert coarse is levels[1]
    torch.testing.assert_close(
        finest, head.aggregation(levels[0], offsets, SPEC.grid, 2)
    )
    assert finest.shape == levels[0].shape
    assert not torch.allclose(finest, levels[0])
    torch.testing.assert_close(offsets, head._offsets(levels[0]))


def test_classes_teach_the_offsets_through_the_aggregation():
    head = make_head(encoder=ENCODER, aggregation=AGGREGATION)
    (finest, _), _ = head(make_levels())
    finest.square().sum().backward()
    assert head.branch[-1].weight.grad.any()
    assert head.encoder.branches['offsets'].fuse[0][0].conv.weight.grad.any()


# -- losses ----------------------------------------------------------------


def test_the_loss_by_hand():
    """One cell, axes of 8, 4 and 2 m."""
    target = torch.tensor([4.0, 2.0, 1.0, 3.0, 1.0, 2.0])
    offsets = torch.tensor([6.0, 1.0, 2.0, 1.0, 1.0, 1.5])
    censored = torch.tensor([0, 0, 1, 1, 0, 0]).bool()
    shares = [2 / 8, 1 / 8, 0, 2 / 4, 0, 0.5 / 2]
    cell = (1, 6, 1, 1, 1)
    loss = offset_l1_loss(
        offsets.view(cell), target.view(cell), censored.view(cell), EXTENT
    )
    assert loss.item() == pytest.approx(sum(shares))


def test_unit_errors_cost_six_whatever_is_unknown():
    batch = make_batch()
    assert (batch.gt_offsets == 0).float().mean() == 0.25
    offsets = batch.gt_offsets + EXTENT.view(6, 1, 1, 1)
    none = torch.zeros_like(batch.gt_censored)
    loss = offset_l1_loss(offsets, batch.gt_offsets, none, EXTENT)
    assert loss.item() == pytest.approx(6)


def test_what_is_predicted_for_unknown_cells_does_not_matter():
    batch = make_batch()
    losses, grads = [], []
    for value in (0.0, 7.0, 1e6):
        offsets = torch.full_like(batch.gt_offsets, 1.0)
        offsets[:, :, :2] = value
        offsets.requires_grad_()
        loss = offset_l1_loss(
            offsets, batch.gt_offsets, batch.gt_censored, EXTENT
        )
        loss.backward()
        losses.append(loss)
        grads.append(offsets.grad)
    assert losses[0] == losses[1] == losses[2] > 0
    assert not grads[0][:, :, :2].any()
    assert grads[0][:, :, 2:].any()
    assert torch.equal(grads[0], grads[2])


def test_of_a_censored_run_only_too_short_costs():
    batch = make_batch()
    target, known = batch.gt_offsets, batch.gt_offsets > 0
    all_of_them = torch.ones_like(batch.gt_censored)
    more = offset_l1_loss(target + 1, target, all_of_them, EXTENT)
    assert more == 0
    less = offset_l1_loss(target - 1, target, all_of_them, EXTENT)
    share = (1 / EXTENT).view(6, 1, 1, 1).expand_as(known)
    torch.testing.assert_close(less, 6 * share[known].mean())
    # a run that was seen whole costs both ways
    for step in (-1, 1):
        loss = offset_l1_loss(target + step, target, ~all_of_them, EXTENT)
        torch.testing.assert_close(loss, less)


def test_nothing_known_costs_nothing_and_keeps_the_graph():
    batch = make_batch()
    batch.gt_offsets.zero_()
    head = make_head()
    levels, offsets = head(make_levels())
    loss = head.loss(levels[0], predicted(offsets), batch)['loss_offset']
    assert loss == 0
    loss.backward()
    for parameter in head.parameters():
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))


def test_the_heads_loss_is_weighted():
    batch = make_batch()
    losses = []
    for weight in (1.0, 3.0):
        head = make_head(loss_weight=weight)
        levels, offsets = head(make_levels())
        losses.append(head.loss(levels[0], predicted(offsets), batch))
    assert [set(terms) for terms in losses] == [{'loss_offset'}] * 2
    expected = offset_l1_loss(
        offsets, batch.gt_offsets, batch.gt_censored, EXTENT
    )
    torch.testing.assert_close(losses[0]['loss_offset'], expected)
    torch.testing.assert_close(losses[1]['loss_offset'], 3 * expected)


def test_half_precision_offsets_are_compared_in_single():
    head, batch = make_head(), make_batch()
    offsets = head(make_levels())[1].half()
    loss = head.loss(None, predicted(offsets), batch)['loss_offset']
    assert loss.dtype == torch.float32


@pytest.mark.parametrize('aux_weight', [0.2, 1.0])
def test_the_auxiliary_head_looks_at_the_lifted_volume(aux_weight):
    head = make_head(aux_head=AUX_HEAD, aux_weight=aux_weight)
    levels, batch = make_levels(), make_batch()
    _, offsets = head(levels)
    volume = torch.randn(2, 4, 8, 2, 4)
    losses = head.loss(volume, predicted(offsets), batch)
    terms = head.aux_head.loss(head.aux_head((volume,)), batch)
    assert set(losses) == {
        'loss_offset',
        'loss_aux_focal',
        'loss_aux_sem_scal',
        'loss_aux_geo_scal',
        'loss_aux_lovasz',
    }
    for name, term in terms.items():
        torch.testing.assert_close(
            losses[name.replace('_occ_', '_aux_')], aux_weight * term
        )


def test_the_auxiliary_head_works_in_training_alone():
    head = make_head(aux_head=AUX_HEAD)
    head.aux_head.register_forward_hook(lambda *_: pytest.fail('was asked'))
    head(make_levels())


def test_training_lowers_the_loss():
    head = make_head()
    levels, batch = make_levels(), make_batch()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    history = []
    for _ in range(40):
        out, offsets = head(levels)
        loss = head.loss(out[0], predicted(offsets), batch)['loss_offset']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.7 * history[0]


def test_errors_name_expected_and_actual():
    with pytest.raises(ValueError, match=r'\(16, 4, 8\) grid by 3'):
        make_head(stride=3)
    head, batch = make_head(), make_batch()
    prediction = predicted(head(make_levels())[1])
    batch.gt_offsets = batch.gt_offsets[..., :2]
    with pytest.raises(ValueError, match=r'\(8, 2, 4\), got \(8, 2, 2\)'):
        head.loss(None, prediction, batch)
    batch.gt_offsets = None
    with pytest.raises(ValueError, match="'VoxelRunLengths', stride=2"):
        head.loss(None, prediction, batch)
