"""GSRender's and RenderOcc's losses at labelled pixels."""

import math
from dataclasses import replace

import pytest
import torch

from occsplat.models.heads import DensityOccHead, GaussianOccHead
from occsplat.models.render_heads import GSRenderHead, NeRFRenderHead
from occsplat.models.render_heads.nerf_render_head import (
    pixel_rays,
    ray_weights,
)
from occsplat.models.render_heads.pixel_sampling import (
    draw_pixels,
    rarity_weights,
)
from occsplat.models.render_heads.ray_compensation import compensate
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccBatch,
    OccPrediction,
    PixelLabels,
    VoxelGrid,
)

GRID = VoxelGrid(range=(-8, -6, -2, 8, 6, 2), shape=(16, 12, 4))
SPEC = LabelSpec.named('occ3d')
CAR, ROAD, WALL = 4, 11, 15
HEADS = [
    (GaussianOccHead, GSRenderHead),
    (DensityOccHead, NeRFRenderHead),
]
#: camera looks along x: its x is -y, its y is -z
LOOK = torch.tensor(
    [[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
)


def shifted(x=0.0, y=0.0):
    """A frame that stands at (x, y) of the current one."""
    frame2ref = torch.eye(4)
    frame2ref[:2, 3] = torch.tensor([x, y])
    return frame2ref


def pixel_labels(frames, rows):
    """Labels of frames at the given places; a camera at the origin.

    rows: (frame, row, column, depth, label, moving).
    """
    frame2ref = torch.stack(frames)
    ref2cam = LOOK @ torch.linalg.inv(frame2ref)
    K = torch.tensor([[8.0, 0, 8], [0, 8, 6], [0, 0, 1]])
    rig = CameraRig.from_matrices(
        ref2cam[:, None], K.expand(len(frames), 1, 3, 3), 16, 12
    )
    frame, row, column, depth, label, moving = map(list, zip(*rows))
    index = torch.tensor([frame, [0] * len(rows), row, column]).T
    return PixelLabels(
        rig,
        frame2ref,
        0.5 * torch.arange(len(frames)),
        index,
        torch.tensor(depth),
        torch.tensor(label),
        torch.tensor(moving),
    )


def batch_of(*labels):
    rig = CameraRig.stack([one.rig for one in labels])
    return OccBatch(
        metas=[{}] * len(labels), rig=rig, pixel_labels=list(labels)
    )


def two_frames():
    rows = [
        (0, 6, 8, 5.0, WALL, False),
        (0, 9, 4, 3.0, ROAD, False),
        (1, 5, 9, 4.0, WALL, False),
        (1, 7, 2, 6.0, CAR, True),
    ]
    return pixel_labels([shifted(), shifted(1.0)], rows)


def predict(cls, batch=1, seed=0):
    torch.manual_seed(seed)
    head = cls(in_channels=5, grid=GRID, channels=6)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head, head([torch.randn(batch, 5, *GRID.shape)])


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_loss_reaches_the_head_from_every_frame(occ_head, render_head):
    head, prediction = predict(occ_head, batch=2)
    losses = render_head(grid=GRID).loss(
        None, prediction, batch_of(two_frames(), two_frames())
    )
    name = render_head.name
    for key in ('semantic', 'depth'):
        assert losses[f'loss_{name}_{key}'] > 0
        assert losses[f'loss_{name}_{key}_adjacent'] > 0
    for key, loss in losses.items():
        grads = torch.autograd.grad(
            loss, list(head.parameters()), retain_graph=True, allow_unused=True
        )
        assert sum(g is not None and bool(g.any()) for g in grads) >= 4, key
        assert all(g is None or g.isfinite().all() for g in grads)


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_samples_of_a_batch_do_not_mix(occ_head, render_head):
    _, prediction = predict(occ_head, batch=2)
    head = render_head(grid=GRID)
    few = pixel_labels([shifted()], [(0, 6, 8, 5.0, WALL, False)])
    none = few.chosen(torch.tensor([False]))
    alone = head.loss(None, prediction, batch_of(few, none))

    def only(name):
        value = getattr(prediction, name)
        return None if value is None else value[:1]

    first = replace(
        prediction,
        **{n: only(n) for n in ('logits', 'gaussians', 'density', 'features')},
    )
    expected = head.loss(None, first, batch_of(few))
    assert alone.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(alone[key], value)


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_compensation_onto_the_current_frame_changes_nothing(
    occ_head, render_head
):
    _, prediction = predict(occ_head)
    rows = [(0, 6, 8, 5.0, WALL, False), (1, 6, 8, 5.0, WALL, False)]
    labels = pixel_labels([shifted(), shifted()], rows)
    head = render_head(grid=GRID, frame_weight=1.0)
    losses = head.loss(None, prediction, batch_of(labels))
    for key, value in losses.items():
        if key.endswith('_adjacent'):
            torch.testing.assert_close(
                value, losses[key.removesuffix('_adjacent')]
            )


@pytest.mark.parametrize('occ_head', [GaussianOccHead, DensityOccHead])
def test_compensation_by_whole_voxels_is_a_shift(occ_head):
    _, prediction = predict(occ_head)
    seen = compensate(prediction, GRID, shifted(2.0, -1.0)[None])
    # voxel (x, y) of the other frame is (x + 2, y - 1) of this one
    torch.testing.assert_close(
        seen.prediction.logits[:, :, :-2, 1:],
        prediction.logits[:, :, 2:, :-1],
    )
    assert seen.inside[0, :-2, 1:].all()
    assert not seen.inside[0, -2:].any() and not seen.inside[0, :, 0].any()
    if occ_head is GaussianOccHead:
        moved, current = (
            p.gaussians[0].means.view(*GRID.shape, 3)
            for p in (seen.prediction, prediction)
        )
        # in the current frame they are where they were
        torch.testing.assert_close(moved[:-2, 1:], current[2:, :-1])


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_levels_agree_where_frames_differ_by_whole_voxels(
    occ_head, render_head
):
    # both then look at the same field, but for what lies outside
    _, prediction = predict(occ_head)
    labels = two_frames()
    losses = [
        render_head(grid=GRID, level=level).loss(
            None, prediction, batch_of(labels)
        )
        for level in ('feature', 'logits')
    ]
    for key, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][key], rtol=0.05, atol=0.01)
    half = pixel_labels(
        [shifted(), shifted(0.5, 0.5)], [(1, 6, 8, 5.0, WALL, False)]
    )
    key = f'loss_{render_head.name}_semantic_adjacent'
    values = [
        render_head(grid=GRID, level=level)
        .loss(None, prediction, batch_of(half))[key]
        .item()
        for level in ('feature', 'logits')
    ]
    # between voxels the decoder says something new
    assert abs(values[0] - values[1]) > 1e-4


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_what_nobody_has_seen_is_not_rendered(occ_head, render_head):
    _, prediction = predict(occ_head)
    far_away = pixel_labels(
        [shifted(), shifted(100.0)], [(1, 6, 8, 5.0, WALL, False)]
    )
    head = render_head(grid=GRID)
    losses = head.loss(None, prediction, batch_of(far_away))
    # no light is stopped, all classes are alike
    key = f'loss_{head.name}_semantic_adjacent'
    assert losses[key].item() == pytest.approx(0.8 * math.log(17), rel=1e-5)


@pytest.mark.parametrize(
    'options, label, moving, weight',
    [
        (dict(), CAR, False, 0.1),
        (dict(), WALL, True, 1.0),
        (dict(dynamic='instance'), CAR, False, 1.0),
        (dict(dynamic='instance'), CAR, True, 0.1),
        (dict(dynamic_classes=[WALL]), WALL, False, 0.1),
        (dict(dynamic_terms=['depth']), CAR, False, 1.0),
    ],
)
def test_dynamic_pixels_of_other_frames_count_less(
    options, label, moving, weight
):
    _, prediction = predict(GaussianOccHead)

    def adjacent(**kwargs):
        labels = pixel_labels(
            [shifted(), shifted(1.0)],
            [
                (0, 6, 8, 5.0, label, moving),
                (1, 6, 8, 5.0, label, moving),
            ],
        )
        return GSRenderHead(grid=GRID, **kwargs).loss(
            None, prediction, batch_of(labels)
        )

    found, full = adjacent(**options), adjacent(dynamic_weight=1.0)
    key = 'loss_gsrender_semantic_adjacent'
    torch.testing.assert_close(found[key], weight * full[key])
    key = 'loss_gsrender_semantic'
    torch.testing.assert_close(found[key], full[key])


def test_a_solid_wall_has_its_depth():
    density = torch.zeros(1, *GRID.shape)
    density[:, 12:] = 50.0  # from x = 4 m: the first centre is at 4.5
    logits = torch.full((1, 18, *GRID.shape), -10.0)
    logits[:, WALL] = 0.0
    prediction = OccPrediction(logits=logits, density=density)
    # between the centres at 3.5 and 4.5 m the density rises by 50 a metre:
    # light falls as exp(-25 u^2), and the mean depth is its integral
    depth = 3.5 + math.sqrt(math.pi) / 10
    rows = [
        (0, row, column, depth, WALL, False)
        for row, column in ((6, 8), (6, 3), (4, 11))
    ]
    head = NeRFRenderHead(grid=GRID, step=0.02, depth='expected')
    labels = pixel_labels([shifted()], rows)
    losses = head.loss(None, prediction, batch_of(labels))
    # the camera's z in all pixels, not the length of the rays
    assert losses['loss_nerf_depth'] < math.log(1.01)
    assert losses['loss_nerf_semantic'] < 1e-3
    assert losses['loss_nerf_entropy'] < 1e-4
    labels.depth = labels.depth * 1.25
    losses = head.loss(None, prediction, batch_of(labels))
    expected = math.sqrt(0.15) * math.log(1.25)
    assert losses['loss_nerf_depth'] == pytest.approx(expected, abs=0.003)


def test_rays_go_where_the_rig_projects():
    torch.manual_seed(0)
    labels = two_frames()
    rig = labels.rig[1]
    pixels = torch.tensor([[0, 3, 5], [0, 11, 15]])
    origins, directions = pixel_rays(rig, pixels)
    depth = torch.tensor([2.0, 7.0])
    uv, z = rig.project(origins + depth[:, None] * directions)
    torch.testing.assert_close(z[0], depth)
    torch.testing.assert_close(uv[0], pixels[:, [2, 1]] + 0.5)


def test_ray_weights_sum_to_one():
    torch.manual_seed(0)
    density = torch.rand(5, 9, dtype=torch.float64) * 3
    step = torch.rand(5, 1, dtype=torch.float64)
    weights, left = ray_weights(density, step)
    total = weights.sum(dim=1) + left
    torch.testing.assert_close(total, torch.ones_like(total))
    alpha = 1 - torch.exp(-density * step)
    expected = alpha.clone()
    for i in range(9):
        expected[:, i] *= (1 - alpha[:, :i]).prod(dim=1)
    torch.testing.assert_close(weights, expected)


def test_drawing_follows_the_weights():
    torch.manual_seed(0)
    weights = torch.tensor([0.0, 1.0, 1.0, 3.0])
    assert draw_pixels(weights, 5).tolist() == [1, 2, 3]
    counts = torch.zeros(4)
    for _ in range(3000):
        counts[draw_pixels(weights, 1)] += 1
    share = counts / counts.sum()
    torch.testing.assert_close(share, weights / 5, atol=0.03, rtol=0)


def test_rare_classes_are_wanted_more():
    weights = rarity_weights(torch.tensor([100, 1, 100]))
    expected = [1.0, math.exp(0.005 * 99), 1.0]
    torch.testing.assert_close(weights, torch.tensor(expected))


def test_drawn_pixels_enter_one_loss():
    _, prediction = predict(DensityOccHead)
    head = NeRFRenderHead(
        grid=GRID, level='logits', num_pixels=3, dynamic_weight=0.0
    )
    losses = head.loss(None, prediction, batch_of(two_frames()))
    assert not any(key.endswith('_adjacent') for key in losses)
    # the moving car's pixel is never drawn: what it says does not matter
    other = two_frames()
    other.depth[3] = 50.0
    again = head.loss(None, prediction, batch_of(other))
    for key, value in losses.items():
        torch.testing.assert_close(again[key], value)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(level='pixel'), "level must be one of .* got 'pixel'"),
        (dict(dynamic='box'), 'dynamic must be'),
        (dict(depth='z'), 'depth must be'),
        (dict(dynamic_terms=['flow']), 'dynamic_terms must be'),
        (dict(num_pixels=0), 'num_pixels must be at least 1, got 0'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        NeRFRenderHead(**options)


def test_heads_that_do_not_fit_say_so():
    _, gaussians = predict(GaussianOccHead)
    _, density = predict(DensityOccHead)
    batch = batch_of(two_frames())
    with pytest.raises(ValueError, match='takes a GaussianOccHead'):
        GSRenderHead(grid=GRID).loss(None, density, batch)
    with pytest.raises(ValueError, match='takes a DensityOccHead'):
        NeRFRenderHead(grid=GRID).loss(None, gaussians, batch)
    with pytest.raises(ValueError, match='needs one with a decoder'):
        GSRenderHead(grid=GRID).loss(
            None, replace(gaussians, decode=None), batch
        )
    batch.pixel_labels = None
    with pytest.raises(ValueError, match='LoadPixelLabels'):
        GSRenderHead(grid=GRID).loss(None, gaussians, batch)
