"""A gradient that is not finite stops the run before it is saved.

Guards: clipping spreads it over all weights, the step after is blamed, and
the checkpoints in between hold NaN.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from occsplat.engine import OccRunner, user_errors
from occsplat.structures import OccDataSample

CONFIGS = Path(__file__).parents[2] / 'occupancy_configs'


class Root(BaseModel):
    """A loss of 0 whose slope is infinite in the third step."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.other = nn.Linear(1, 1)

    def forward(self, x, data_samples, mode='tensor'):
        x = torch.stack(x)
        y = self.layer(x) + self.other(x)
        return dict(loss_root=(y * x).abs().sqrt().mean())


@pytest.mark.parametrize('wrapper', ['OptimWrapper', None])
def test_the_frames_losses_and_weights_are_named(tmp_path, wrapper):
    data = [
        dict(
            x=torch.tensor([float(i != 2)]),
            data_samples=OccDataSample(metainfo=dict(token=f'frame-{i}')),
        )
        for i in range(5)
    ]
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
    if wrapper is not None:
        optim_wrapper['clip_grad'] = dict(max_norm=5)
    runner = OccRunner(
        Root(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=data,
            batch_size=1,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=optim_wrapper,
        default_hooks=dict(
            logger=None,
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False),
            finite_gradient=dict(type='FiniteGradientHook'),
        ),
        default_scope='mmdet3d',
        log_level='ERROR',
        experiment_name=f'{tmp_path.name}_{wrapper}',
    )
    if wrapper is None:  # nothing is clipped: there is no norm to look at
        runner.train()
        return
    with pytest.raises(SystemExit) as caught, user_errors():
        runner.train()
    text = caught.value.args[0]
    assert text.startswith('error: iteration 3, frames frame-2: the norm')
    assert 'loss_root=0' in text and 'layer.weight, layer.bias' in text
    saved = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert saved == ['iter_1.pth', 'iter_2.pth']


def test_every_config_has_the_hook():
    # neither parts of configs nor rows of a comparison
    paths = sorted(
        path
        for path in CONFIGS.glob('*/*.py')
        if path.parent.name not in ('_base_', 'bench')
    )
    assert len(paths) > 30
    for path in paths:
        hooks = Config.fromfile(path).default_hooks
        assert hooks.finite_gradient.type == 'FiniteGradientHook', path
