"""The pre-training network on a toy encoder: shapes, losses, predictions."""

import math

import pytest
import torch
from mmdet.models.backbones import ResNet
from mmdet3d.registry import MODELS

from occsplat.models.pretraining import DepthSemanticPretraining
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    NonFiniteError,
    OccDataSample,
)

SPEC = LabelSpec.named('surroundocc')  # free is 0 there
CAR, ROAD = (SPEC.classes.index(n) for n in ('car', 'driveable_surface'))
GRID = dict(range=(-8, -8, -2, 8, 8, 2), shape=(8, 8, 2))
CAMERAS, HEIGHT, WIDTH = 2, 32, 64
LIFTER = dict(
    in_channels=8,
    channels=6,
    grid=GRID,
    mid_channels=8,
    depth_bins=dict(start=2.0, stop=12.0, step=1.0),
    norm_cfg=dict(type='GN', num_groups=2),
)


def make_model(kind='FBOccLifter', out_indices=(1, 2), **options):
    torch.manual_seed(0)
    norm = dict(type='GN', num_groups=2)
    lifter = dict(LIFTER, type=kind)
    if kind == 'StereoLifter':
        lifter.update(num_frames=1, pre_process=False, cost_strides=(2, 1))
    options.setdefault('lifter', lifter)
    return DepthSemanticPretraining(
        img_backbone=dict(
            type='mmdet.ResNet',
            depth=18,
            base_channels=4,
            out_indices=out_indices,
            norm_cfg=norm,
            norm_eval=False,
        ),
        img_neck=dict(
            type='SingleMapFPN', in_channels=[8, 16], out_channels=8
        ),
        label_spec=SPEC,
        **options,
    )


def make_sample(depth=0.0, label=255, frames=1):
    eye = torch.eye(4).expand(frames, CAMERAS, 4, 4)
    K = torch.tensor([[32.0, 0, 32], [0, 32, 16], [0, 0, 1]])
    sample = OccDataSample(metainfo=dict(token='a'))
    sample.rig = CameraRig.from_matrices(
        eye, K.expand(frames, CAMERAS, 3, 3), WIDTH, HEIGHT
    )
    sample.gt_depth = torch.zeros(CAMERAS, HEIGHT, WIDTH)
    sample.gt_pixel_semantics = torch.full(
        (CAMERAS, HEIGHT, WIDTH), SPEC.ignore, dtype=torch.uint8
    )
    if depth:
        sample.gt_depth[0, 3, 3] = depth
        sample.gt_pixel_semantics[0, 3, 3] = label
    return sample


def inputs(batch=1, frames=1):
    generator = torch.Generator().manual_seed(1)
    shape = batch, frames, CAMERAS, 3, HEIGHT, WIDTH
    return dict(imgs=torch.randn(shape, generator=generator))


def flat(model, depth=None, classes=None):
    """Make the model say the same of every cell."""
    for layer, bias in (
        (model.lifter.depth_net.depth[-1], depth),
        (model.semantic_head, classes),
    ):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        for place, value in (bias or {}).items():
            layer.bias.data[place] = value
    return model


def test_names_are_the_detectors_and_no_volume_is_left():
    names = set(make_model().state_dict())
    parts = {name.split('.')[0] for name in names}
    assert parts == {'img_backbone', 'img_neck', 'lifter', 'semantic_head'}
    assert {n.split('.')[1] for n in names if n.startswith('lifter')} == {
        'depth_net'
    }


@pytest.mark.parametrize(
    'kind, out_indices, frames',
    [('FBOccLifter', (1, 2), 1), ('StereoLifter', (0, 1, 2), 2)],
)
def test_predictions_have_the_cells_of_the_neck(kind, out_indices, frames):
    """Also where the finest map and one more frame are there to match."""
    model = make_model(kind, out_indices).eval()
    samples = [make_sample(frames=frames), make_sample(frames=frames)]
    with torch.no_grad():
        logits = model(inputs(2, frames), samples)
        samples = model(inputs(2, frames), samples, mode='predict')
    assert logits.depth.shape == (2, CAMERAS, 10, 4, 8)
    assert logits.semantics.shape == (2, CAMERAS, 16, 4, 8)
    for sample in samples:
        assert sample.pred_depth.shape == (CAMERAS, 4, 8)
        assert sample.pred_pixel_semantics.shape == (CAMERAS, 4, 8)
        assert sample.pred_pixel_semantics.dtype == torch.uint8
        assert (sample.pred_pixel_semantics != SPEC.free).all()


def test_losses_by_hand():
    model = make_model(depth_weight=2.0, semantic_weight=3.0)
    # bin 3 has probability 3/12, the class that follows free 4/19
    flat(model, {3: math.log(3.0)}, {CAR - 1: math.log(4.0)})
    sample = make_sample(5.5, CAR)
    # hidden behind it in the cell, and beyond the bins in another cell
    sample.gt_depth[0, 4, 4], sample.gt_pixel_semantics[0, 4, 4] = 8.0, ROAD
    sample.gt_depth[0, 20, 20] = 50.0
    sample.gt_pixel_semantics[0, 20, 20] = ROAD
    losses = model(inputs(), [sample], mode='loss')
    assert set(losses) == {'loss_depth', 'loss_semantics'}
    assert float(losses['loss_depth']) == pytest.approx(2 * math.log(4))
    assert float(losses['loss_semantics']) == pytest.approx(
        3 * math.log(19 / 4)
    )
    # a second cell of another bin, whose class nobody knows
    sample.gt_depth[1, 9, 9] = 2.5
    losses = model(inputs(), [sample], mode='loss')
    assert float(losses['loss_depth']) == pytest.approx(
        math.log(4) + math.log(12)
    )
    assert float(losses['loss_semantics']) == pytest.approx(
        3 * math.log(19 / 4)
    )


def test_no_return_costs_nothing_and_keeps_the_graph():
    model = make_model()
    losses = model(inputs(), [make_sample()], mode='loss')
    sum(losses.values()).backward()
    assert float(losses['loss_depth']) == float(losses['loss_semantics']) == 0
    for part in (model.img_neck, model.lifter, model.semantic_head):
        assert all(p.grad is not None for p in part.parameters())


def test_the_likeliest_bin_and_class_are_predicted():
    model = flat(make_model(), {7: 1.0}, {ROAD - 1: 1.0}).eval()
    (sample,) = model(inputs(), [make_sample()], mode='predict')
    assert (sample.pred_depth == 9.5).all()
    assert (sample.pred_pixel_semantics == ROAD).all()


def test_what_does_not_fit_is_refused():
    several = dict(LIFTER, type='StereoLifter', cost_strides=(2, 1))
    with pytest.raises(ValueError, match='set num_frames=1.*got 2'):
        make_model(out_indices=(0, 1, 2), lifter=several)
    model = make_model()
    with pytest.raises(ValueError, match='T = 2'):
        model(inputs(frames=2), [make_sample()])
    with pytest.raises(ValueError, match="got 'train'"):
        model(inputs(), [make_sample()], mode='train')
    sample = make_sample()
    del sample.gt_pixel_semantics
    with pytest.raises(ValueError, match='LidarSemantics'):
        model(inputs(), [sample], mode='loss')


def test_a_number_that_is_not_finite_names_its_module():
    model = make_model()
    model.semantic_head.weight.data[0, 0] = torch.nan
    for mode in ('loss', 'predict'):
        with pytest.raises(NonFiniteError, match=r'is semantic_head \('):
            model(inputs(), [make_sample(5.0, CAR)], mode=mode)


def test_it_is_registered_and_reads_what_a_detector_reads():
    assert MODELS.get('DepthSemanticPretraining') is DepthSemanticPretraining
    assert isinstance(make_model().img_backbone, ResNet)
