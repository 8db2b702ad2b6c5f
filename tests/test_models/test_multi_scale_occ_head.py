"""SurroundOcc's and TPVFormer's head, and the losses it shares."""

import pytest
import torch
import torch.nn.functional as F

from occsplat.models.heads import MultiScaleOccHead
from occsplat.models.losses import VoxelLosses, lovasz_softmax_loss
from occsplat.ops import pool_labels
from occsplat.structures import LabelSpec, OccBatch

SPEC = LabelSpec.named('surroundocc')
SIZES = [(8, 4, 4), (4, 2, 2)]
WIDTHS = [6, 10]


def make_head(**kwargs):
    torch.manual_seed(0)
    return MultiScaleOccHead(WIDTHS, 'surroundocc', **kwargs)


def make_levels(widths=WIDTHS):
    torch.manual_seed(1)
    return [torch.randn(2, c, *size) for c, size in zip(widths, SIZES)]


def make_batch():
    torch.manual_seed(2)
    occ = torch.randint(0, 17, (2, *SIZES[0]))
    occ[torch.rand(occ.shape) < 0.2] = SPEC.ignore
    return OccBatch(metas=[], rig=None, gt_occ=occ)


def test_each_level_has_its_share_of_the_losses():
    head, batch = make_head().train(), make_batch()
    prediction = head(make_levels())
    losses = head.loss(prediction, batch)
    weights = 1 / torch.tensor(SPEC.counts, dtype=torch.float64).log()
    expected = {}
    coarse = pool_labels(batch.gt_occ, (2, 2, 2), SPEC)
    for name, logits, occ, share in (
        ('loss_occ', prediction.logits, batch.gt_occ, 1.0),
        ('loss_occ_1', prediction.coarse_logits[0], coarse, 0.5),
    ):
        expected[f'{name}_lovasz'] = share * lovasz_softmax_loss(
            logits.softmax(1), occ
        )
        expected[f'{name}_cross_entropy'] = (
            share
            * 10
            * F.cross_entropy(logits, occ, weights.float(), ignore_index=255)
        )
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-5)


def test_coarse_levels_cost_nothing_in_use():
    head = make_head().eval()
    with torch.no_grad():
        prediction = head(make_levels())
    assert prediction.coarse_logits == ()
    occ, flow = head.predict(prediction)
    assert occ.dtype == torch.uint8 and flow is None
    assert torch.equal(occ.long(), prediction.logits.argmax(1))


def test_the_perceptron_gives_the_features():
    torch.manual_seed(0)
    head = MultiScaleOccHead([6], 'surroundocc', hidden_channels=12)
    (level, *_) = make_levels()
    prediction = head([level])
    linear = [
        layer.weight[..., 0, 0, 0] for layer in (head.mlp[0], head.mlp[2])
    ]
    hidden = F.softplus(
        F.linear(level.movedim(1, -1), linear[0], head.mlp[0].bias)
    )
    features = F.linear(hidden, linear[1], head.mlp[2].bias).movedim(-1, 1)
    torch.testing.assert_close(prediction.features, features)
    again = MultiScaleOccHead(
        [6], 'surroundocc', hidden_channels=12, with_cp=True
    ).train()
    again.load_state_dict(head.state_dict())
    assert torch.equal(again([level]).logits, prediction.logits)


def test_first_predictions_are_the_frequencies():
    head = make_head()
    share = torch.tensor(SPEC.counts) / sum(SPEC.counts)
    for layer in head.classifiers:
        torch.testing.assert_close(layer.bias.softmax(0), share)
    assert all(
        layer.bias is None for layer in make_head(bias=False).classifiers
    )


def test_every_parameter_learns():
    head = make_head().train()
    sum(head.loss(head(make_levels()), make_batch()).values()).backward()
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())


def test_mistakes_are_told():
    with pytest.raises(ValueError, match='expects 2 levels, got 1'):
        make_head()(make_levels()[:1])
    with pytest.raises(ValueError, match='needs gt_occ'):
        head = make_head()
        head.loss(head(make_levels()), OccBatch(metas=[], rig=None))
    with pytest.raises(ValueError, match=r"unknown loss_weights \['dice'\]"):
        make_head(loss_weights=dict(dice=1.0))
    with pytest.raises(ValueError, match=r'class_weights.*\(17,\)'):
        make_head(class_weights=(1.0, 2.0))


@pytest.mark.parametrize('weights', ['balanced', 'log_count', (1.0,) * 17])
def test_class_weights_are_those_that_are_asked_for(weights):
    losses = VoxelLosses(SPEC, dict(cross_entropy=2.0), SPEC.counts, weights)
    torch.manual_seed(0)
    logits, occ = (
        torch.randn(1, 17, 4, 4, 2),
        make_batch().gt_occ[:1, :4, :, :2],
    )
    (value,) = losses(logits, occ).values()
    used = losses.balance
    if weights == 'log_count':
        assert used.argmin() == SPEC.free
    if weights == (1.0,) * 17:
        used = torch.ones(17)
    expected = 2 * F.cross_entropy(logits, occ, used, ignore_index=255)
    torch.testing.assert_close(value, expected)
