"""The heads of BEVStereo, GSRender and RenderOcc."""

import math

import pytest
import torch

from occsplat.models.heads import (
    DensityOccHead,
    GaussianOccHead,
    MLPOccHead,
)
from occsplat.models.heads.opacity_head import START_OPACITY
from occsplat.structures import CameraRig, LabelSpec, OccBatch, VoxelGrid

GRID = VoxelGrid(range=(-4, -3, -1, 4, 3, 1), shape=(8, 6, 4))  # 1, 1, 0.5 m
SPEC = LabelSpec.named('occ3d')
HEADS = [MLPOccHead, GaussianOccHead, DensityOccHead]
FREE = SPEC.free


def make(cls, **kwargs):
    torch.manual_seed(0)
    args = dict(in_channels=5, label_spec='occ3d', grid=GRID, channels=6)
    return cls(**{**args, **kwargs})


def levels(batch=2):
    torch.manual_seed(1)
    return [torch.randn(batch, 5, *GRID.shape)]


def labelled(occ):
    eye = torch.eye(4).expand(len(occ), 1, 1, 4, 4)
    rig = CameraRig.from_matrices(eye, eye[..., :3, :3], 4, 4)
    return OccBatch(metas=[{}] * len(occ), rig=rig, gt_occ=occ)


@pytest.mark.parametrize('cls', HEADS)
def test_shapes_and_one_voxel_at_a_time(cls):
    head = make(cls)
    prediction = head(levels())
    assert prediction.logits.shape == (2, 18, *GRID.shape)
    occ, flow = head.predict(prediction)
    assert occ.dtype == torch.uint8 and occ.shape == (2, *GRID.shape)
    assert flow is None
    # a decoder that looks at one voxel commutes with mirroring
    centers = GRID.centers().expand(2, *GRID.shape, 3)
    mirrored = prediction.decode(prediction.features.flip(2), centers.flip(1))
    torch.testing.assert_close(mirrored.logits, prediction.logits.flip(2))


@pytest.mark.parametrize('cls', HEADS)
def test_another_resolution_is_refused(cls):
    with pytest.raises(ValueError, match=r'\(8, 6, 4\), got \(4, 6, 4\)'):
        make(cls)([torch.zeros(1, 5, 4, 6, 4)])


@pytest.mark.parametrize('cls', HEADS[1:])
@pytest.mark.parametrize('spec', ['occ3d', 'surroundocc', 'openocc'])
def test_class_probabilities_sum_to_the_opacity(cls, spec):
    head = make(cls, label_spec=spec)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    prediction = head(levels())
    probs = prediction.logits.exp()
    torch.testing.assert_close(probs.sum(1), torch.ones_like(probs[:, 0]))
    opacity = 1 - probs[:, head.spec.free]
    if cls is GaussianOccHead:
        found = [g.opacities.view(GRID.shape) for g in prediction.gaussians]
        found = torch.stack(found)
        for b, gaussians in enumerate(prediction.gaussians):
            # the Gaussians render the classes that the logits name
            occupied = prediction.logits[b][list(head.spec.occupied)]
            torch.testing.assert_close(
                gaussians.features.softmax(1),
                occupied.flatten(1).T.softmax(1),
            )
    else:  # along the shortest edge
        found = 1 - torch.exp(-prediction.density * 0.5)
    torch.testing.assert_close(found, opacity)


@pytest.mark.parametrize('cls', HEADS[1:])
def test_everything_starts_nearly_transparent(cls):
    prediction = make(cls)(levels())
    opacity = 1 - prediction.logits[:, FREE].exp()
    torch.testing.assert_close(
        opacity, torch.full_like(opacity, START_OPACITY)
    )


@pytest.mark.parametrize('cls', HEADS[1:])
def test_threshold_decides_between_free_and_the_likeliest_class(cls):
    head = make(cls, opacity_threshold=0.4)
    probs = torch.full((1, 18, *GRID.shape), 1e-3)
    probs[:, FREE] = 0.55  # likelier than any class, opaque enough
    probs[:, 4] = 0.43
    probs[:, :, 0, 0, 0] = torch.tensor([0.35 / 17] * 17 + [0.65])
    prediction = make(cls)(levels(1))
    prediction.logits = probs.log()
    occ, _ = head.predict(prediction)
    assert occ[0, 0, 0, 0] == FREE
    occ[0, 0, 0, 0] = 4
    assert (occ == 4).all()
    head.opacity_threshold = 0.5
    assert (head.predict(prediction)[0] == FREE).all()


def test_gaussians_stay_within_their_bound():
    head = make(GaussianOccHead, max_offset=3.0)
    torch.nn.init.normal_(head.mlp[-1].weight, std=100.0)
    with torch.no_grad():
        gaussians = head(levels(1)).gaussians[0]
    moved = (gaussians.means - GRID.centers().view(-1, 3)).abs()
    limit = torch.tensor([3.0, 3.0, 1.5])  # metres
    assert (moved <= limit + 1e-5).all()
    assert (moved.amax(dim=0) > 0.99 * limit).all()
    # half a voxel, two thirds or one and a half times as large
    assert gaussians.scales[:, 2].min() == pytest.approx(0.25 / 1.5)
    assert gaussians.scales[:, 0].max() == pytest.approx(0.5 * 1.5)


def test_gaussians_start_as_their_voxels():
    gaussians = make(GaussianOccHead)(levels(1)).gaussians[0]
    torch.testing.assert_close(gaussians.means, GRID.centers().view(-1, 3))
    half = torch.tensor([0.5, 0.5, 0.25]).expand(len(gaussians), 3)
    torch.testing.assert_close(gaussians.scales, half)
    assert gaussians.quats is None


@pytest.mark.parametrize(
    'switch, channels',
    [
        (dict(), 24),  # of the paper
        (dict(with_rotation=True), 28),
        (dict(with_scale=False), 21),
        (dict(max_offset=0.0), 21),
        (dict(max_offset=math.inf), 24),
    ],
)
def test_every_switch_has_its_channels(switch, channels):
    head = make(GaussianOccHead, **switch)
    assert head.mlp[-1].out_channels == channels
    torch.nn.init.normal_(head.mlp[-1].weight, std=10.0)
    gaussians = head(levels(1)).gaussians[0]
    away = (gaussians.means - GRID.centers().view(-1, 3)).abs()
    if 'max_offset' in switch:
        bounded = switch['max_offset'] == 0
        assert away.max() == 0 if bounded else away.max() > 6
    if 'with_rotation' in switch:
        lengths = gaussians.quats.norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_rotations_turn_the_unit_quaternion():
    head = make(GaussianOccHead, with_rotation=True)
    with torch.no_grad():
        head.mlp[-1].bias[-4:] = torch.tensor([0.0, 0, 0, 1])
        quats = head(levels(1)).gaussians[0].quats
    # a quarter turn about z
    half = math.sqrt(0.5)
    expected = torch.tensor([half, 0, 0, half]).expand_as(quats)
    torch.testing.assert_close(quats, expected)


def test_bevstereo_starts_from_the_class_frequencies():
    head = make(MLPOccHead)
    for part in (head.final_conv, head.mlp[0]):
        for parameter in part.parameters():
            torch.nn.init.zeros_(parameter)
    torch.nn.init.zeros_(head.mlp[-1].weight)
    probs = head(levels(1)).logits.softmax(1)[0, :, 0, 0, 0]
    counts = torch.tensor(SPEC.counts, dtype=torch.float64)
    torch.testing.assert_close(probs, (counts / counts.sum()).float())


def test_rare_classes_weigh_more_in_the_voxel_loss():
    head = make(DensityOccHead, loss_weights=dict(semantic=1.0))
    occ = torch.full((1, *GRID.shape), FREE)
    occ[0, 0, 0, :2] = torch.tensor([2, 11])  # a bicycle, a road
    prediction = head(levels(1))
    losses = head.loss(prediction, labelled(occ))
    log_probs = prediction.logits[0, :17].log_softmax(0)[:, 0, 0]
    weight = [1 / math.log(SPEC.counts[i] + 1e-3) for i in (2, 11)]
    expected = -(
        weight[0] * log_probs[2, 0] + weight[1] * log_probs[11, 1]
    ) / sum(weight)
    torch.testing.assert_close(losses['loss_occ_semantic'], expected)


def test_voxel_losses_by_hand():
    head = make(GaussianOccHead, loss_weights=dict(geometry=1.0, semantic=2.0))
    occ = torch.full((1, *GRID.shape), FREE)
    occ[0, 0, 0, 0] = 11
    occ[0, 0, 0, 1] = SPEC.ignore
    prediction = make(GaussianOccHead)(levels(1))
    probs = torch.full((1, 18, *GRID.shape), 0.2 / 17)
    probs[:, FREE] = 0.8
    prediction.logits = probs.log()
    losses = head.loss(prediction, labelled(occ))
    known = GRID.num_voxels - 1
    geometry = -(math.log(0.2) + (known - 1) * math.log(0.8)) / known
    assert losses['loss_occ_geometry'] == pytest.approx(geometry, rel=1e-4)
    # one voxel, whatever its class weighs
    semantic = 2 * math.log(17)
    assert losses['loss_occ_semantic'] == pytest.approx(semantic, rel=1e-4)


def test_images_alone_need_no_voxel_labels():
    head = make(DensityOccHead)
    assert head.loss(head(levels()), labelled(torch.zeros(2))) == {}
    head = make(DensityOccHead, loss_weights=dict(geometry=1.0))
    batch = labelled(torch.zeros(2))
    batch.gt_occ = None
    with pytest.raises(ValueError, match='LoadOccLabels'):
        head.loss(head(levels()), batch)


def test_bevstereo_head_learns_and_ignores():
    head = make(MLPOccHead)
    occ = torch.full((2, *GRID.shape), FREE)
    occ[:, :, :, 0] = 11
    prediction = head(levels())
    loss = head.loss(prediction, labelled(occ))['loss_occ']
    # unlabelled voxels neither help nor harm
    hidden = occ.clone()
    hidden[:, :4] = SPEC.ignore
    half = head.loss(prediction, labelled(hidden))['loss_occ']
    log_probs = prediction.logits.log_softmax(1).gather(1, occ[:, None])
    torch.testing.assert_close(loss, -log_probs.mean())
    torch.testing.assert_close(half, -log_probs[:, :, 4:].mean())
    nothing = torch.full_like(occ, SPEC.ignore)
    assert head.loss(prediction, labelled(nothing))['loss_occ'] == 0


@pytest.mark.parametrize('cls', HEADS[1:])
def test_bad_arguments(cls):
    with pytest.raises(ValueError, match='between 0 and 1, got 1.0'):
        make(cls, opacity_threshold=1.0)
    with pytest.raises(ValueError, match="unknown loss_weights .'focal'"):
        make(cls, loss_weights=dict(focal=1.0))
