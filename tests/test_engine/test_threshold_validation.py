"""Validation tries thresholds; a test takes the one that is set.

Guards: checkpoints of heads that images teach were chosen by scores at a
threshold of 0.5, which next to nothing reaches.
"""

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.evaluator import Evaluator
from torch import nn

import occsplat.models  # noqa: F401  registers
from occsplat.engine import OccRunner
from occsplat.engine.opacity_threshold import sweep_thresholds
from occsplat.evaluation import (
    VALIDATION_THRESHOLDS,
    BEVIoUMetric,
    OccIoUMetric,
    RayIoUMetric,
    ThresholdSweep,
)
from occsplat.models.heads import GaussianOccHead, OccHead
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    OccPrediction,
    VoxelGrid,
)

SPEC = LabelSpec.named('occ3d')
GRID = VoxelGrid(SPEC.grid.range, (20, 20, 4))
ROAD = SPEC.classes.index('driveable_surface')
WHERE = dict(label_spec='occ3d', grid=dict(range=GRID.range, shape=GRID.shape))


def street():
    occ = torch.full(GRID.shape, SPEC.free, dtype=torch.uint8)
    occ[:, :, 0] = ROAD
    occ[14:16, 8:12, 1:3] = SPEC.classes.index('car')
    return occ


@MODELS.register_module(force=True)
class FirstChannel(nn.Module):
    """A backbone without weights."""

    def forward(self, imgs):
        return (imgs[:, :1],)


@MODELS.register_module(force=True)
class GlowLifter(nn.Module):
    """Knows the street; ``glow`` is how opaque it makes it."""

    num_frames, stereo = 1, False

    def __init__(self):
        super().__init__()
        self.glow = nn.Parameter(torch.tensor(0.1))

    def forward(self, features, rig):
        solid = street() != SPEC.free
        # some of the air is nearly as opaque
        air = torch.where(torch.arange(20)[:, None, None] % 3 == 0, 0.8, 0.1)
        volume = torch.where(solid, 1.0, air) * self.glow.clamp(min=0.01)
        return volume.expand(len(rig.K), 1, *GRID.shape), None

    def loss(self, lifted, batch):
        # an epoch makes everything more opaque
        return dict(loss_glow=-self.glow)


@MODELS.register_module(force=True)
class GlowHead(GaussianOccHead):
    """The volume is the opacity, and the classes are true."""

    def forward(self, levels):
        opacity = levels[0]
        logits = torch.full((len(opacity), SPEC.num_classes, *GRID.shape), -20)
        logits = logits + opacity.log()
        label = torch.where(street() == SPEC.free, ROAD, street().long())
        label = label.expand(len(opacity), 1, *GRID.shape)
        logits = logits.scatter(1, label, opacity.log())
        logits[:, SPEC.free] = (1 - opacity[:, 0]).log()
        return OccPrediction(logits=logits)


def item(token):
    eye = torch.eye(4).expand(1, 1, 4, 4)
    sample = OccDataSample(
        metainfo=dict(
            token=token,
            ray_origins=torch.tensor([[0.0, 0.0, 1.8], [6.0, 0.0, 1.8]]),
        )
    )
    sample.rig = CameraRig.from_matrices(eye, eye[..., :3, :3], 8, 4)
    sample.gt_occ = street()
    imgs = torch.zeros(1, 1, 3, 4, 8, dtype=torch.uint8)
    return dict(inputs=dict(imgs=imgs), data_samples=sample)


@pytest.fixture
def make_runner(tmp_path):
    count = iter(range(100))

    def make(threshold=0.5, save_best=None, evaluator=None, **more):
        loader = dict(
            dataset=[item('a'), item('b')],
            batch_size=1,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )
        if evaluator is None:
            evaluator = [
                dict(type='OccIoUMetric', **WHERE),
                dict(type='RayIoUMetric', **WHERE),
                dict(type='BEVIoUMetric', **WHERE),
            ]
        return OccRunner(
            dict(
                type='OccDetector',
                img_backbone=dict(type='FirstChannel'),
                lifter=dict(type='GlowLifter'),
                occ_head=dict(
                    type='GlowHead',
                    in_channels=1,
                    **WHERE,
                    opacity_threshold=threshold,
                ),
            ),
            work_dir=str(tmp_path),
            val_dataloader=loader,
            val_evaluator=evaluator,
            val_cfg=dict(),
            test_dataloader=loader,
            test_evaluator=evaluator,
            test_cfg=dict(),
            default_hooks=dict(
                logger=None,
                checkpoint=dict(
                    type='CheckpointHook',
                    interval=1,
                    save_best=save_best,
                    rule='greater',
                ),
            ),
            default_scope='mmdet3d',
            log_level='ERROR',
            experiment_name=f'{tmp_path.name}_{next(count)}',
            **more,
        )

    return make


def test_validation_reports_the_best_threshold_and_a_test_does_not(
    make_runner,
):
    runner = make_runner()
    scores = runner.val()
    # the street is 0.1 opaque, the air 0.08 and 0.01
    assert scores['tau'] == 0.1
    assert scores['RayIoU'] == scores['mIoU'] == scores['bev_mIoU'] == 1
    assert runner.model.occ_head.opacity_threshold == 0.5
    # a second epoch
    assert runner.val() == pytest.approx(scores, nan_ok=True)
    at_half = runner.test()
    assert 'tau' not in at_half and at_half['RayIoU'] == 0


def test_the_threshold_of_the_head_is_tried_too(make_runner):
    runner = make_runner(threshold=0.085)
    with torch.no_grad():
        runner.model.lifter.glow.fill_(0.09)
    scores = runner.val()
    # 0.07 lets the air in, and 0.1 nothing
    assert scores['tau'] == 0.085 and scores['RayIoU'] == 1


def test_the_best_checkpoint_is_the_best_at_its_own_threshold(
    make_runner, tmp_path
):
    loader = dict(
        dataset=[item('a')],
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )
    runner = make_runner(
        save_best='RayIoU',
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.555)),
    )
    with torch.no_grad():
        runner.model.lifter.glow.fill_(-0.45)
    runner.train()
    # After one epoch the street is 0.105 opaque and the air 0.084: 0.1 tells
    # them apart, and 0.5 sees nothing. After two, 0.66 and 0.53: 0.5 sees
    # everything full, which scores more than nothing.
    best = [p.name for p in tmp_path.glob('best_RayIoU*')]
    assert best == ['best_RayIoU_epoch_1.pth']
    assert runner.message_hub.get_info('best_score') == 1


@pytest.mark.parametrize(
    ('save_best', 'by'),
    [('mIoU', 'mIoU'), ('RayIoU@1', 'RayIoU@1'), ('bev_mIoU', 'RayIoU')],
)
def test_it_is_chosen_by_what_checkpoints_are(make_runner, save_best, by):
    runner = make_runner(save_best=save_best)
    evaluator = runner.build_val_loop(runner._val_loop).evaluator
    assert isinstance(evaluator, ThresholdSweep) and evaluator.by == by
    assert evaluator.thresholds == sorted(VALIDATION_THRESHOLDS)


def test_what_is_not_swept(make_runner):
    where = dict(in_channels=4, num_levels=1, channels=4, upsample=1)
    model = nn.Module()
    evaluator = Evaluator([RayIoUMetric('occ3d'), OccIoUMetric('occ3d')])
    for head in (None, OccHead(**where, label_spec='openocc')):
        model.occ_head = head
        assert sweep_thresholds(evaluator, model) is evaluator
    model.occ_head = OccHead(
        **where, opacity_threshold=0.3, label_spec='openocc'
    )
    evaluator.dataset_meta = dict(classes=('a',))
    sweep = sweep_thresholds(evaluator, model)
    assert isinstance(sweep, ThresholdSweep) and 0.3 in sweep.thresholds
    assert sweep.dataset_meta == dict(classes=('a',))
    # nothing to choose by
    evaluator = Evaluator([BEVIoUMetric('occ3d')])
    assert sweep_thresholds(evaluator, model) is evaluator

    # one of somebody else
    class Own(Evaluator):
        pass

    evaluator = Own([RayIoUMetric('occ3d')])
    assert sweep_thresholds(evaluator, model) is evaluator
