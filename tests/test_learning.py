"""The small FB-Occ learns from what it sees.

A network that trains need not look at its images: a street looks like the
next one, and a bird's-eye query can learn a single frame by heart.
"""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate

from occsplat.engine import load_config, read_weights
from occsplat.engine.weight_fit import load_what_fits
from occsplat.evaluation import RayIoUMetric
from occsplat.structures import OccBatch

CONFIG = (
    Path(__file__).parents[1]
    / 'occupancy_configs/fbocc/fbocc-tiny_minitown.py'
)
STEPS = 600

pytestmark = [
    pytest.mark.slow,
    # one worker learns, once
    pytest.mark.xdist_group('learning'),
]


@pytest.fixture(scope='module')
def cfg():
    return load_config(CONFIG)


@pytest.fixture(scope='module')
def frames(cfg, tmp_path_factory):
    """Four key frames of two scenes, as the network sees them in tests."""
    from occsplat.data.infos import create_infos
    from occsplat.minitown import create_minitown

    root = tmp_path_factory.mktemp('town')
    # another town than the encoder's, at the size that it has learned from
    create_minitown(root, scenes=2, frames=2, seed=8, progress=False)
    create_infos(root, 'v1.0-mini')
    found = []
    for split in ('train', 'val'):
        dataset = dict(cfg.val_dataloader.dataset)
        dataset.update(
            data_root=str(root), ann_file=f'occsplat_infos_{split}.pkl'
        )
        found += list(DATASETS.build(dataset))
    return found


@pytest.fixture(scope='module')
def encoder(cfg):
    """The network with its pre-trained encoder, else untrained."""
    torch.manual_seed(0)
    # without a past: each frame stands for itself
    model = MODELS.build(dict(cfg.model, history=None))
    weights = read_weights(cfg.load_from)['state_dict']
    load_what_fits(model, weights, cfg.load_from)
    return model


@pytest.fixture(scope='module')
def learned(encoder, volumes, frames):
    """The network after STEPS steps on the four frames."""
    model = encoder.train()
    parts = torch.nn.ModuleList([model.volume_encoder, model.occ_head])
    optimizer = torch.optim.AdamW(parts.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, STEPS)
    batches = [
        OccBatch.collate(inputs(model, frame)['data_samples'])
        for frame in frames
    ]
    for step in range(STEPS):
        # what is frozen gives the same volume every time
        prediction = model.occ_head(model.volume_encoder(volumes[step % 4]))
        losses = model.occ_head.loss(prediction, batches[step % 4])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.fixture(scope='module')
@torch.no_grad()
def volumes(encoder, frames):
    """What is lifted of each frame, (1, C, X, Y, Z)."""
    lifted = []
    for frame in frames:
        data = inputs(encoder, frame)
        features = encoder.image_encoder(data['inputs']['imgs'])
        rig = OccBatch.collate(data['data_samples']).rig
        lifted.append(encoder.lifter(features, rig)[0])
    return lifted


def inputs(model, frame):
    return model.data_preprocessor(pseudo_collate([frame]))


@torch.no_grad()
def ray_iou(cfg, model, frames, change=lambda imgs: imgs):
    grid = cfg.val_evaluator[0].grid
    metric = RayIoUMetric(label_spec='openocc', grid=grid, flow=False)
    for frame in frames:
        data = inputs(model, frame)
        data['inputs']['imgs'] = change(data['inputs']['imgs'])
        samples = model(**data, mode='predict')
        metric.process({}, [sample.to_dict() for sample in samples])
    return metric.evaluate(len(frames))['RayIoU']


def test_four_frames_can_be_learned_by_heart(cfg, learned, frames):
    assert ray_iou(cfg, learned, frames) > 0.6


def test_the_prediction_depends_on_the_images(cfg, learned, frames):
    """Each camera shows what the second to its right should."""
    seen = ray_iou(cfg, learned, frames)
    swapped = ray_iou(cfg, learned, frames, lambda imgs: imgs.roll(2, dims=2))
    assert swapped < 0.5 * seen


def test_all_that_lifts_is_frozen(cfg):
    """Else the volumes above would change as the network learns."""
    assert set(cfg.model.frozen) == {'img_backbone', 'img_neck', 'lifter'}


def test_what_is_lifted_differs_between_frames(volumes):
    """A volume that is alike in all frames teaches nothing of any."""
    channels = torch.cat(volumes).movedim(1, 0)
    between = channels.var(dim=1, correction=0).mean()
    # of a channel's variance, what is between frames
    share = between / channels.flatten(1).var(dim=1, correction=0).mean()
    assert share > 0.2, share
