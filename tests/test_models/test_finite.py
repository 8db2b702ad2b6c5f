"""Numbers that are not finite stop a step, with the module they come from.

Guards: a NaN anywhere ended in `IndexError: index -1` of the Lovasz loss,
and in a prediction that looked like any other.
"""

import copy
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from torch import nn

from occsplat.engine import load_config, user_errors
from occsplat.models.finite import require_finite, run_finite
from occsplat.models.losses import lovasz_softmax_loss
from occsplat.structures import NonFiniteError, OccDataSample, OccPrediction

CONFIGS = Path(__file__).parents[2] / 'occupancy_configs'
VOXELSPLAT = 'voxelsplat/voxelsplat_fbocc-tiny_minitown.py'
GSRENDER = 'gsrender/gsrender-2f_bevstereo-tiny_minitown.py'
VOXDET = 'voxdet/voxdet_bevstereo-tiny_minitown.py'


@pytest.fixture(scope='module')
def built(minitown_lidar2d):
    """Model and one batch of a config, built once; the model a copy."""
    cache = {}

    def build(name):
        if name not in cache:
            cfg = load_config(CONFIGS / name)
            dataset = cfg.train_dataloader.dataset
            dataset.data_root = str(minitown_lidar2d)
            data = pseudo_collate([DATASETS.build(dataset)[2]])
            torch.manual_seed(0)
            model = MODELS.build(cfg.model)
            cache[name] = model, model.data_preprocessor(data, True)
        model, data = cache[name]
        return copy.deepcopy(model), copy.deepcopy(data)

    return build


def break_weight(model, name):
    with torch.no_grad():
        model.get_parameter(name).view(-1)[0] = torch.nan


@pytest.mark.parametrize(
    'config, weight',
    [
        (VOXELSPLAT, 'img_backbone.conv1.weight'),
        (VOXELSPLAT, 'lifter.depth_net.depth.0.conv1.weight'),
        (VOXELSPLAT, 'occ_head.flow_branch.2.weight'),
        (VOXELSPLAT, 'occ_head.occ_branch.1.bias'),
        (GSRENDER, 'occ_head.mlp.0.weight'),
        (VOXDET, 'offset_head.branch.1.bias'),
    ],
)
def test_the_module_that_broke_is_named(built, config, weight):
    model, data = built(config)
    break_weight(model, weight)
    model.train()
    with pytest.raises(NonFiniteError) as caught:
        model(**data, mode='loss')
    text = str(caught.value)
    module, _, kind = weight.rpartition('.')
    assert f'first module with such an output is {module} (' in text
    assert f'{kind} is not (1 of' in text
    assert data['data_samples'][0].token in text
    # splats whose place is not a number are not drawn
    assert 'Losses: ' in text and ('=nan' in text or config == GSRENDER)
    assert '\n' not in text
    # nothing is left on the modules
    assert not any(m._forward_hooks for m in model.modules())
    for mode in ('predict', 'tensor'):
        with pytest.raises(NonFiniteError, match=rf' {module} \('):
            model.eval()(**data, mode=mode)


def test_inputs_are_told_from_weights(built):
    model, data = built(VOXELSPLAT)
    data['inputs']['imgs'][..., 3, 5] = torch.inf
    with pytest.raises(NonFiniteError, match='its input is not') as caught:
        model(**data, mode='loss')
    assert 'output is img_backbone.conv1 (Conv2d)' in str(caught.value)


def test_a_loss_may_be_to_blame_alone(built):
    model, data = built(VOXDET)
    loss = model.offset_head.loss

    def broken(*args):
        return {name: term / 0 for name, term in loss(*args).items()}

    model.offset_head.loss = broken
    with pytest.raises(SystemExit) as caught, user_errors():
        model(**data, mode='loss')
    text = caught.value.args[0]
    assert text.startswith(f'error: frames {data["data_samples"][0].token}: ')
    assert 'loss_aux_occ: not finite' in text and 'loss_offset=inf' in text
    assert 'outputs of all modules are finite' in text


def test_errors_that_numbers_cause_name_the_module(built):
    model, data = built(VOXELSPLAT)
    head = model.occ_head
    loss = head.loss

    def fragile(prediction, batch):
        if not prediction.logits.isfinite().all():
            raise IndexError('index -1')
        return loss(prediction, batch)

    head.loss = fragile
    model(**data, mode='loss')
    break_weight(model, 'occ_head.occ_branch.1.bias')
    with pytest.raises(NonFiniteError, match='IndexError: index -1') as error:
        model(**data, mode='loss')
    assert ' occ_head.occ_branch.1 (Conv3d)' in str(error.value)


def test_other_errors_stay_what_they_are(built):
    model, data = built(VOXELSPLAT)
    data['data_samples'][0].pop('gt_occ')
    with pytest.raises(ValueError, match='needs gt_occ'):
        model(**data, mode='loss')


class Lottery(nn.Module):
    """Breaks in one of many modules, by chance."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(nn.Dropout(0.0) for _ in range(50))
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs, samples):
        self.drawn = int(torch.randint(50, ()))
        x = inputs['x']
        for i, part in enumerate(self.parts):
            x = part(x / (i != self.drawn))
        require_finite(OccPrediction(logits=x))


def test_the_second_step_draws_what_the_first_one_drew():
    model = Lottery()
    sample = OccDataSample(metainfo=dict(token='a'))
    for _ in range(5):
        with pytest.raises(NonFiniteError) as caught:
            run_finite(model, model, dict(x=torch.ones(3)), [sample])
        assert f' parts.{model.drawn} (Dropout)' in str(caught.value)


def test_all_that_is_predicted_is_looked_at():
    logits = torch.zeros(1, 2, 2, 2, 2)
    good = dict(l=torch.ones(()), m=[torch.ones(()), torch.zeros(2)])
    require_finite(OccPrediction(logits=logits), good)
    for name in ('flow', 'offsets', 'density'):
        broken = {name: torch.tensor([0.0, -torch.inf])}
        with pytest.raises(NonFiniteError, match=f'prediction.{name}: not'):
            require_finite(OccPrediction(logits=logits, **broken))
    bad = dict(good, n=[torch.ones(()), torch.tensor(torch.nan)])
    with pytest.raises(NonFiniteError, match='n: not finite.*n=1[+]nan'):
        require_finite(OccPrediction(logits=logits), bad)


def test_lovasz_of_broken_probabilities_is_broken():
    target = torch.zeros(1, 2, 2, 1, dtype=torch.long)
    target[0, 0, 0] = 1
    for where in ((0, 0), (0, 1), (1, 0), (1, 1)):
        probs = torch.full((1, 2, 2, 2, 1), 0.5)
        probs[0, where[0], where[1]] = torch.nan
        assert lovasz_softmax_loss(probs, target).isnan()
    assert lovasz_softmax_loss(
        torch.full_like(probs, torch.nan), target
    ).isnan()
