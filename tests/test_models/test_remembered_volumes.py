"""Volumes that a frozen encoder lifts once."""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate

from occsplat.engine import load_config
from occsplat.models.lifting import RememberedVolumes
from occsplat.structures import CameraRig

ROOT = Path(__file__).parents[2] / 'occupancy_configs'
FROZEN = ('img_backbone', 'img_neck', 'lifter')


def build(**kwargs):
    cfg = load_config(ROOT / 'fbocc/fbocc-tiny_minitown.py')
    torch.manual_seed(0)
    return MODELS.build({**cfg.model, **kwargs})


def rigs(count):
    return CameraRig.from_matrices(
        torch.eye(4).expand(count, 1, 2, 4, 4).clone(),
        torch.eye(3).expand(count, 1, 2, 3, 3).clone(),
        8,
        4,
    )


def test_each_image_is_lifted_once_and_each_gets_its_own_volume():
    seen = []

    def lift(imgs, rig):
        seen.append(len(imgs))
        return imgs.mean(dim=(1, 2, 4, 5))

    volumes = RememberedVolumes(10)
    imgs = torch.randn(5, 1, 2, 3, 4, 8)
    rig = rigs(5)
    for order, lifted in (
        ([0, 1], 2),
        ([1, 2], 1),
        ([0, 2, 1], 0),
        ([4, 0, 3], 2),
    ):
        seen.clear()
        got = volumes(lift, imgs[order], rig[order])
        torch.testing.assert_close(
            got, imgs[order].mean(dim=(1, 2, 4, 5)), atol=1e-3, rtol=1e-3
        )
        assert sum(seen) == lifted
    # the same bits as the first time
    assert torch.equal(
        volumes(lift, imgs[:2], rig[:2]),
        got.new_tensor(imgs[:2].mean(dim=(1, 2, 4, 5)).half().tolist()),
    )


@pytest.mark.parametrize('change', ['ref2cam', 'K', 'img_aug', 'imgs'])
def test_other_cameras_and_images_are_other_volumes(change):
    calls = []

    def lift(imgs, rig):
        calls.append(1)
        return torch.zeros(len(imgs), 1)

    volumes = RememberedVolumes(10)
    imgs, rig = torch.zeros(1, 1, 2, 3, 4, 8), rigs(1)
    volumes(lift, imgs, rig)
    volumes(lift, imgs, rig)
    assert len(calls) == 1
    values = imgs if change == 'imgs' else getattr(rig, change)
    values[..., 0, 1] += 0.01
    volumes(lift, imgs, rig)
    assert len(calls) == 2


def test_what_does_not_fit_is_lifted_each_time():
    calls = []

    def lift(imgs, rig):
        calls.append(len(imgs))
        return imgs.mean(dim=(1, 2, 4, 5))

    volumes = RememberedVolumes(1)
    imgs, rig = torch.randn(3, 1, 2, 3, 4, 8), rigs(3)
    for _ in range(2):
        volumes(lift, imgs, rig)
    assert calls == [3, 2]
    volumes.forget()
    volumes(lift, imgs, rig)
    assert calls == [3, 2, 3]


@pytest.fixture(scope='module')
def data(minitown_infos):
    cfg = load_config(ROOT / 'fbocc/fbocc-tiny_minitown.py')
    dataset = dict(cfg.train_dataloader.dataset, data_root=str(minitown_infos))
    return DATASETS.build(dataset)


def test_the_detector_learns_the_same_from_what_it_remembers(data):
    """Losses agree to half precision, the first time and the next."""
    plain, keeps = (
        build(remember=number, history=None).train() for number in (0, 4)
    )
    frame = pseudo_collate([data[0], data[1]])
    losses = []
    for model in (plain, keeps, keeps):
        torch.manual_seed(0)
        inputs = model.data_preprocessor(frame, training=True)
        losses.append(model(**inputs, mode='loss'))
    for first, second in zip(losses[1].values(), losses[2].values()):
        assert torch.equal(first, second)
    for exact, kept in zip(losses[0].values(), losses[1].values()):
        torch.testing.assert_close(exact, kept, atol=1e-3, rtol=1e-3)
    sum(losses[2].values()).backward()
    learns = [p for p in keeps.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in learns)


def test_the_images_of_training_are_remembered(data):
    """No augmentation changes them from one epoch to the next."""
    first, again = (data[0]['inputs']['imgs'] for _ in range(2))
    assert torch.equal(first, again)


def test_other_weights_make_it_forget():
    model = build(remember=4)
    model.remembered._volumes[b'x'] = torch.zeros(1)
    model.load_state_dict(model.state_dict())
    assert not model.remembered._volumes


@pytest.mark.parametrize('part', FROZEN)
def test_what_learns_can_not_be_remembered(part):
    frozen = tuple(name for name in FROZEN if name != part)
    with pytest.raises(ValueError, match=f"\\['{part}'\\] still learn"):
        build(frozen=frozen, remember=4)


def test_a_depth_loss_has_nothing_to_read():
    cfg = load_config(ROOT / 'fbocc/fbocc-tiny_minitown.py').model
    with pytest.raises(ValueError, match='depth_weight=0'):
        build(lifter=dict(cfg.lifter, depth_weight=0.1), remember=4)
