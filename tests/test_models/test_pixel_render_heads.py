"""GSRender's and RenderOcc's losses at labelled pixels."""

import math
from dataclasses import replace

import pytest
import torch

from occsplat.models.heads import DensityOccHead, GaussianOccHead
from occsplat.models.losses import log_count_weights
from occsplat.models.render_heads import GSRenderHead, NeRFRenderHead
from occsplat.models.render_heads.nerf_render_head import ray_weights
from occsplat.models.render_heads.pixel_render_head import (
    FramePixels,
    labelled_rays,
)
from occsplat.models.render_heads.pixel_sampling import (
    draw_pixels,
    rarity_weights,
    where_rays_end,
)
from occsplat.models.render_heads.ray_compensation import compensate
from occsplat.structures import (
    CameraRig,
    Gaussians,
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
    head = cls(in_channels=5, label_spec='occ3d', grid=GRID, channels=6)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head, head([torch.randn(batch, 5, *GRID.shape)])


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_loss_reaches_the_head_from_every_frame(occ_head, render_head):
    head, prediction = predict(occ_head, batch=2)
    rows = [
        (0, 6, 8, 5.0, WALL, False),
        (0, 7, 4, 20.0, ROAD, False),  # beyond the volume
        (1, 5, 9, 4.0, WALL, False),
        (1, 6, 2, 20.0, CAR, True),
    ]
    labels = pixel_labels([shifted(), shifted(1.0)], rows)
    losses = render_head(label_spec='occ3d', grid=GRID, outside='free').loss(
        None, prediction, batch_of(labels, two_frames())
    )
    name = render_head.name
    for key in ('semantic', 'depth', 'free'):
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
    head = render_head(label_spec='occ3d', grid=GRID)
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
    head = render_head(label_spec='occ3d', grid=GRID, frame_weight=1.0)
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
        render_head(label_spec='occ3d', grid=GRID, level=level).loss(
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
        render_head(label_spec='occ3d', grid=GRID, level=level)
        .loss(None, prediction, batch_of(half))[key]
        .item()
        for level in ('feature', 'logits')
    ]
    # between voxels the decoder says something new
    assert abs(values[0] - values[1]) > 1e-4


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_what_nobody_has_seen_is_not_rendered(occ_head, render_head):
    _, prediction = predict(occ_head)
    labels = pixel_labels([shifted()], [(0, 6, 8, 5.5, WALL, False)])
    near, far = torch.zeros(2, *GRID.shape, dtype=torch.bool)
    near[:12] = True  # up to x = 4 m
    far[12:] = True
    alphas = []
    for inside in (None, near | far, near, far, near & far):
        view = FramePixels(
            prediction,
            0,
            inside,
            torch.eye(4),
            labels.rig[0],
            labels.index[:, 1:],
        )
        alphas.append(
            render_head(label_spec='occ3d', grid=GRID)
            .render(view)
            .alpha.item()
        )
    everything, both, first, second, nothing = alphas
    assert everything == both > max(first, second)
    assert min(first, second) > nothing == 0


@pytest.mark.parametrize('occ_head, render_head', HEADS)
@pytest.mark.parametrize('level', ['feature', 'logits'])
def test_dropped_surfaces_teach_nothing(occ_head, render_head, level):
    _, prediction = predict(occ_head)
    rows = [(0, 6, 8, 5.0, WALL, False), (1, 6, 8, 5.0, WALL, False)]
    beyond = [(0, 6, 8, 9.0, CAR, False), (0, 1, 8, 5.0, CAR, False)]
    frames = [shifted(), shifted(2.0)]
    head = render_head(
        label_spec='occ3d', grid=GRID, level=level, outside='drop'
    )
    expected = head.loss(
        None, prediction, batch_of(pixel_labels(frames, rows))
    )
    labels = pixel_labels(frames, [*rows[:1], *beyond, *rows[1:]])
    found = head.loss(None, prediction, batch_of(labels))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)
    far_away = pixel_labels([shifted(), shifted(100.0)], rows[1:])
    losses = head.loss(None, prediction, batch_of(far_away))
    assert losses[f'loss_{head.name}_semantic_adjacent'] == 0
    # that ray ends before it comes to where both volumes are
    free = render_head(
        label_spec='occ3d', grid=GRID, level='feature', outside='free'
    )
    losses = free.loss(None, prediction, batch_of(far_away))
    assert losses[f'loss_{head.name}_free_adjacent'] == 0


def test_free_rays_are_asked_for_where_the_tiny_networks_gain():
    # measured: docs/methods/gsrender.md
    assert GSRenderHead(label_spec='occ3d', grid=GRID).outside == 'drop'
    assert NeRFRenderHead(label_spec='occ3d', grid=GRID).outside == 'free'


@pytest.mark.parametrize('occ_head, render_head', HEADS)
@pytest.mark.parametrize('level', ['feature', 'logits'])
def test_rays_through_the_volume_ask_for_free_space(
    occ_head, render_head, level
):
    _, prediction = predict(occ_head)
    frames = [shifted(), shifted(2.0)]
    inside = [(0, 6, 8, 5.0, WALL, False), (1, 6, 8, 5.0, WALL, False)]
    # through the back, the ceiling and the floor
    beyond = [(0, 6, 7, 9.0, CAR, False), (0, 1, 8, 5.0, CAR, False)]
    later = [(1, 11, 3, 7.0, WALL, True), (1, 5, 8, 6.5, ROAD, False)]
    head = render_head(
        label_spec='occ3d', grid=GRID, level=level, frame_weight=0.5
    )

    def loss(rows, **options):
        for key, value in options.items():
            setattr(head, key, value)
        return head.loss(
            None, prediction, batch_of(pixel_labels(frames, rows))
        )

    expected = loss(inside, outside='drop')
    rows = [*inside[:1], *beyond, *inside[1:], *later]
    found = loss(rows, outside='free')
    name = f'loss_{head.name}'
    for key in ('semantic', 'depth'):
        for ending in ('', '_adjacent'):
            key_ = f'{name}_{key}{ending}'
            torch.testing.assert_close(found[key_], expected[key_])
    labels = pixel_labels(frames, [*beyond, *later])
    for m, ending, weight in ((0, '', 0.3), (1, '_adjacent', 0.15)):
        seen, mask = prediction, None
        ref2lattice = torch.eye(4)
        if m and level == 'feature':
            there = compensate(prediction, GRID, frames[m][None])
            seen, mask = there.prediction, there.inside[0]
            ref2lattice = torch.linalg.inv(frames[m])
        pixels = labels.index[labels.index[:, 0] == m, 1:]
        view = FramePixels(seen, 0, mask, ref2lattice, labels.rig[m], pixels)
        out = head.render(view)
        value = weight * out.absorbed.mean()
        torch.testing.assert_close(found[f'{name}_free{ending}'], value)
        some = out.alpha < 0.99
        torch.testing.assert_close(
            out.absorbed[some], -torch.log(1 - out.alpha[some])
        )
    # what the surface beyond is, and how far, is all the same
    other = [(*row[:3], row[3] + 30, WALL, not row[5]) for row in beyond]
    again = loss([*inside[:1], *other, *inside[1:], *later])
    for key, value in found.items():
        torch.testing.assert_close(again[key], value)
    # but for the neighbours' things that may have driven along the ray
    car = loss([*inside, (*later[0][:4], CAR, False)])
    wall = loss([*inside, later[0]])
    key = f'{name}_free_adjacent'
    torch.testing.assert_close(car[key], 0.1 * wall[key])
    half = loss(rows, free_weight=0.15)
    torch.testing.assert_close(half[f'{name}_free'], found[f'{name}_free'] / 2)


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_kept_surfaces_are_labels_like_all_others(occ_head, render_head):
    _, prediction = predict(occ_head)
    rows = [(0, 6, 8, 5.0, WALL, False), (0, 6, 7, 20.0, CAR, False)]
    labels = pixel_labels([shifted()], rows)
    found = render_head(label_spec='occ3d', grid=GRID, outside='keep').loss(
        None, prediction, batch_of(labels)
    )
    # in a volume that has no end all surfaces are inside
    head = render_head(label_spec='occ3d', grid=GRID, outside='drop')
    head._placed = lambda labels: labels
    expected = head.loss(None, prediction, batch_of(labels))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)
    labels.depth[1] = 40.0
    further = render_head(label_spec='occ3d', grid=GRID, outside='keep').loss(
        None, prediction, batch_of(labels)
    )
    key = f'loss_{head.name}_depth'
    assert further[key] != found[key]


@pytest.mark.parametrize('ahead', [True, False])
def test_rays_end_inside_beyond_or_in_front(ahead):
    sign = 1.0 if ahead else -1.0
    origins = torch.tensor(
        [
            [0.0, 0, 0],  # ends inside
            [0.0, 0, 0],  # crosses the back
            [-20.0, 0, 0],  # ends before it enters
            [-20.0, 0, 0],  # crosses all of it
            [-20.0, 7, 0],  # passes beside it
            [0.0, 0, 0],  # crosses the ceiling
            [0.0, 6, 0],  # glides along a face
            [20.0, 0, 0],  # starts behind it
        ]
    )
    origins[:, 0] *= sign
    directions = torch.tensor([[1.0, 0, 0]]).repeat(8, 1)
    directions[5] = torch.tensor([0.5, 0, 1])
    directions[:, 0] *= sign
    depth = torch.tensor([5.0, 9, 9, 40, 40, 3, 40, 9])
    inside, passes = where_rays_end(GRID, origins, directions, depth)
    assert inside.nonzero()[:, 0].tolist() == [0]
    assert passes.nonzero()[:, 0].tolist() == [1, 3, 5]
    enter, leave = GRID.crossing(origins, directions)
    assert enter[[1, 3, 5]].tolist() == [0, 12, 0]
    assert leave[[1, 3, 5]].tolist() == [8, 28, 2]
    # with another frame 10 m ahead the overlap starts 2 m ahead
    ref2frame = torch.eye(4)
    ref2frame[0, 3] = -10 * sign
    inside, passes = where_rays_end(
        GRID, origins, directions, depth, ref2frame
    )
    assert inside.nonzero()[:, 0].tolist() == [0]
    # the one that crosses the ceiling does so before
    assert passes.nonzero()[:, 0].tolist() == [1, 3]


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_opaque_rays_still_learn_to_be_free(occ_head, render_head):
    # all but opaque to the last digit
    means = GRID.centers().view(-1, 3)
    opacity = torch.full_like(means[:, 0], 0.99).requires_grad_()
    density = torch.full((1, *GRID.shape), 60.0, requires_grad=True)
    prediction = OccPrediction(
        logits=torch.zeros(1, 18, *GRID.shape),
        density=density,
        gaussians=[
            Gaussians(
                means, torch.full_like(means, 0.5), opacity,
                torch.zeros(len(means), 17),
            )
        ],
    )  # fmt: skip
    labels = pixel_labels([shifted()], [(0, 6, 7, 20.0, WALL, False)])
    head = render_head(label_spec='occ3d', grid=GRID, outside='free')
    losses = head.loss(None, prediction, batch_of(labels))
    free = losses[f'loss_{head.name}_free']
    assert free.isfinite() and free > 0.3 * math.log(1e3)
    values = density if render_head is NeRFRenderHead else opacity
    (grad,) = torch.autograd.grad(free, values)
    assert grad.isfinite().all() and grad.max() > 0 and grad.min() >= 0


def auc(score, positive):
    """Share of pairs (occupied, free) that a score has in order."""
    high, low = score[positive], score[~positive]
    more = (high[:, None] > low).float() + 0.5 * (high[:, None] == low)
    return more.mean().item()


@pytest.mark.parametrize('render_head', [GSRenderHead, NeRFRenderHead])
def test_free_rays_tell_occupied_from_free_space(render_head):
    """A wall fills one half of the view, the other looks past it."""
    grid = VoxelGrid(range=(0, -4, -2, 8, 4, 2), shape=(8, 8, 4))
    centers = grid.centers()
    wall = (centers[..., 0] > 5) & (centers[..., 0] < 6)
    wall &= centers[..., 1] > 0
    rows = []
    for row in range(12):
        for column in range(16):
            left = column < 8  # y > 0
            depth, label = (5.5, WALL) if left else (20.0, CAR)
            rows.append((0, row, column, depth, label, False))
    labels = pixel_labels([shifted()], rows)
    means = centers.view(-1, 3)
    uv, z = labels.rig[0].project(means)
    seen = (z[0] > 1) & (uv[0] > 0).all(dim=-1)
    seen &= (uv[0] < uv.new_tensor([16, 12])).all(dim=-1)

    def fit(outside):
        torch.manual_seed(0)
        value = (torch.randn(grid.shape) - 3).requires_grad_()
        semantic = torch.zeros(grid.num_voxels, 17, requires_grad=True)
        head = render_head(
            label_spec='occ3d', grid=grid, outside=outside, far=12.0
        )
        optimizer = torch.optim.Adam([value, semantic], lr=0.1)
        for _ in range(40):
            logits = torch.zeros(1, 18, *grid.shape)
            logits[0, :17] = semantic.T.view(17, *grid.shape)
            prediction = OccPrediction(
                logits=logits,
                density=torch.nn.functional.softplus(value)[None],
                gaussians=[
                    Gaussians(
                        means, torch.full_like(means, 0.5),
                        value.flatten().sigmoid(), semantic,
                    )
                ],
            )  # fmt: skip
            losses = head.loss(None, prediction, batch_of(labels))
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
        score = value.detach().flatten()[seen]
        return auc(score, wall.flatten()[seen])

    free, drop, keep = map(fit, ('free', 'drop', 'keep'))
    assert free > 0.8 and free > drop + 0.05 and drop > keep + 0.05


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_compensation_follows_turns_and_mirrors(occ_head, render_head):
    # the turned grid's centres are the grid's: both levels see one field
    grid = VoxelGrid(range=(-6, -6, -2, 6, 6, 2), shape=(12, 12, 4))
    torch.manual_seed(0)
    occ = occ_head(in_channels=5, label_spec='occ3d', grid=grid, channels=6)
    for parameter in occ.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    prediction = occ([torch.randn(1, 5, *grid.shape)])
    turned = torch.eye(4)
    turned[:2, :2] = torch.tensor([[0.0, -1], [1, 0]])
    mirrored = torch.diag(torch.tensor([1.0, -1, 1, 1]))
    rows = [
        (1, 6, 8, 4.0, WALL, False),
        (1, 7, 5, 3.0, ROAD, False),
        (2, 5, 10, 4.0, WALL, False),
    ]
    labels = pixel_labels([shifted(), turned, turned @ mirrored], rows)
    feature, logits = (
        render_head(label_spec='occ3d', grid=grid, level=level).loss(
            None, prediction, batch_of(labels)
        )
        for level in ('feature', 'logits')
    )
    for key, value in feature.items():
        torch.testing.assert_close(value, logits[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_every_sample_has_its_own_frames_and_pixels(occ_head, render_head):
    _, prediction = predict(occ_head, batch=2)
    rows = [
        [(0, 6, 8, 5.0, WALL, False), (1, 5, 9, 4.0, CAR, False)],
        [(0, 9, 4, 3.0, ROAD, False), (1, 7, 6, 3.0, WALL, True)],
    ]
    labels = [
        pixel_labels([shifted(), shifted(*where)], each)
        for where, each in zip([(1.3, 0.2), (-2.6, 1.1)], rows)
    ]
    head = render_head(label_spec='occ3d', grid=GRID)

    def only(b):
        values = {
            name: getattr(prediction, name)
            for name in ('logits', 'gaussians', 'density', 'features')
        }
        return replace(
            prediction,
            **{
                name: None if value is None else value[b : b + 1]
                for name, value in values.items()
            },
        )

    for m in (0, 1):
        together = head._render_frame(prediction, labels, m)
        alone = [
            head._render_frame(only(b), labels[b : b + 1], m) for b in (0, 1)
        ]
        for key, value in together.items():
            expected = torch.cat([each[key] for each in alone])
            torch.testing.assert_close(value, expected)


@pytest.mark.parametrize('spec', ['occ3d', 'surroundocc', 'openocc'])
@pytest.mark.parametrize('occ_head, render_head', HEADS)
def test_ids_are_those_of_the_label_set(spec, occ_head, render_head):
    """The free class may come first or last."""
    spec = LabelSpec.named(spec)
    label = spec.occupied[3]
    head = render_head(label_spec=spec, grid=GRID)
    labels = pixel_labels([shifted()], [(0, 6, 8, 3.5, label, False)])
    channel = spec.occupied.index(label)
    logits = torch.full((1, spec.num_classes, *GRID.shape), -30.0)
    logits[:, label] = 0.0
    semantic = logits[0, list(spec.occupied)].flatten(1).T
    assert semantic[0].argmax() == channel
    means = GRID.centers().view(-1, 3)
    prediction = OccPrediction(
        logits=logits,
        density=torch.full((1, *GRID.shape), 5.0),
        gaussians=[
            Gaussians(
                means, torch.full_like(means, 0.5),
                torch.full_like(means[:, 0], 0.9), semantic,
            )
        ],
    )  # fmt: skip
    losses = head.loss(None, prediction, batch_of(labels))
    assert losses[f'loss_{head.name}_semantic'] < 1e-3
    counts = [spec.counts[i] for i in spec.occupied]
    torch.testing.assert_close(head.balance, log_count_weights(counts))


def test_a_ray_loses_light_by_its_length():
    density = torch.full((1, *GRID.shape), 0.2)
    prediction = OccPrediction(
        logits=torch.zeros(1, 18, *GRID.shape), density=density
    )
    labels = pixel_labels([shifted()], [(0, 6, 1, 2.0, WALL, False)])
    head = NeRFRenderHead(
        label_spec='occ3d', grid=GRID, step=0.01, far=4.0, near=0.0
    )
    view = FramePixels(
        prediction, 0, None, torch.eye(4), labels.rig[0], labels.index[:, 1:]
    )
    out = head.render(view)
    # pixel (1.5, 6.5) of focal length 8 and centre (8, 6)
    length = 4.0 * math.hypot(1.0, 6.5 / 8, 0.5 / 8)
    expected = 1 - math.exp(-0.2 * length)
    assert out.alpha.item() == pytest.approx(expected, rel=1e-3)
    assert out.costs['distortion'].item() > 0


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
        return GSRenderHead(label_spec='occ3d', grid=GRID, **kwargs).loss(
            None, prediction, batch_of(labels)
        )

    found, full = adjacent(**options), adjacent(dynamic_weight=1.0)
    key = 'loss_gsrender_semantic_adjacent'
    torch.testing.assert_close(found[key], weight * full[key])
    key = 'loss_gsrender_semantic'
    torch.testing.assert_close(found[key], full[key])
    # of one pixel: sqrt(w d^2 - 0.85 (w d)^2)
    key = 'loss_gsrender_depth'
    torch.testing.assert_close(found[key], full[key])
    key = 'loss_gsrender_depth_adjacent'
    w = 0.1 if weight < 1 or 'dynamic_terms' in options else 1.0
    ratio = math.sqrt((w - 0.85 * w * w) / 0.15)
    torch.testing.assert_close(found[key], ratio * full[key])


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
    head = NeRFRenderHead(
        label_spec='occ3d', grid=GRID, step=0.02, depth='expected'
    )
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
    origins, directions = labelled_rays(rig, pixels)
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


def test_other_frames_are_drawn_by_their_weight():
    torch.manual_seed(0)
    head = NeRFRenderHead(
        label_spec='occ3d',
        grid=GRID,
        sampling=dict(type='RarePixels', num_pixels=2),
        frame_weight=1e-6,
    )
    for _ in range(5):
        drawn = head._drawn(two_frames())
        assert drawn.index[:, 0].tolist() == [0, 0]


def test_free_rays_are_drawn_like_the_most_frequent_class():
    torch.manual_seed(0)
    rows = [
        (0, 6, 8, 5.0, ROAD, False),
        (0, 6, 7, 20.0, CAR, False),  # beyond the volume: a free ray
        (0, 6, 6, 20.0, SPEC.classes.index('bicycle'), False),
        (1, 6, 5, 20.0, WALL, True),
    ]
    labels = pixel_labels([shifted(), shifted()], rows)
    head = NeRFRenderHead(
        label_spec='occ3d',
        grid=GRID,
        sampling=dict(type='RarePixels', num_pixels=1),
        frame_weight=0.5,
    )
    counts = torch.zeros(4)
    for _ in range(1000):
        # columns 8, 7, 6, and 5 of the other frame
        counts[8 - head._drawn(head._placed(labels)).index[0, 3]] += 1
    rarity = head.sampling.rarity[head.spec.occupied.index(ROAD)]
    expected = torch.tensor([rarity, 1, 1, 0.5])
    torch.testing.assert_close(
        counts / counts.sum(), expected / expected.sum(), atol=0.05, rtol=0
    )


def test_drawn_pixels_enter_one_loss():
    _, prediction = predict(DensityOccHead)
    head = NeRFRenderHead(
        label_spec='occ3d',
        grid=GRID,
        level='logits',
        sampling=dict(type='RarePixels', num_pixels=3),
        dynamic_weight=0.0,
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
        (dict(outside='empty'), 'outside must be'),
        (
            dict(sampling=dict(type='RarePixels', num_pixels=0)),
            'num_pixels must be an integer of at least 1',
        ),
        (dict(dynamic_classes=[99]), r"ids of 'occ3d', got \[99\]"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        NeRFRenderHead(label_spec='occ3d', **options)


def test_heads_that_do_not_fit_say_so():
    _, gaussians = predict(GaussianOccHead)
    _, density = predict(DensityOccHead)
    batch = batch_of(two_frames())
    with pytest.raises(ValueError, match='takes a GaussianOccHead'):
        GSRenderHead(label_spec='occ3d', grid=GRID).loss(None, density, batch)
    with pytest.raises(ValueError, match='takes a DensityOccHead'):
        NeRFRenderHead(label_spec='occ3d', grid=GRID).loss(
            None, gaussians, batch
        )
    with pytest.raises(ValueError, match='needs one with a decoder'):
        GSRenderHead(label_spec='occ3d', grid=GRID).loss(
            None, replace(gaussians, decode=None), batch
        )
    with pytest.raises(ValueError, match=r'expected shape \(200, 200, 16\)'):
        GSRenderHead(label_spec='occ3d').loss(None, gaussians, batch)
    batch.pixel_labels = None
    with pytest.raises(ValueError, match='LoadPixelLabels'):
        GSRenderHead(label_spec='occ3d', grid=GRID).loss(
            None, gaussians, batch
        )
