"""FBOccLifter: geometry, depth loss, depth-aware attention."""

import math

import pytest
import torch
from small_rig import HEIGHT, WIDTH, make_rig

from occsplat.models.image_features import ImageFeatures
from occsplat.models.lifting import FBOccLifter
from occsplat.models.lifting.backward_projection import (
    BEVSelfAttention,
    DepthAwareCrossAttention,
    StarAttention,
    depth_belief,
)
from occsplat.models.lifting.depth_loss import pool_depth
from occsplat.models.lifting.depth_net import CAMERA_NUMBERS, camera_vector
from occsplat.models.lifting.forward_projection import (
    DepthBins,
    Landing,
    forward_projection,
    frustum_points,
    mean_projection,
)
from occsplat.models.lifting.seen_queries import find_views
from occsplat.structures import CameraRig, OccBatch, VoxelGrid

# X, Y and Z differ, so that a transposed axis shows
GRID = VoxelGrid(range=(-12, -8, -2, 12, 8, 4), shape=(12, 8, 3))
BINS = DepthBins(start=1.0, stop=11.0, step=1.0)


def augmentations():
    flip_image = torch.tensor([[-1.0, 0, WIDTH], [0, 1, 0], [0, 0, 1]])
    c, s = math.cos(0.2), math.sin(0.2)
    turn_image = torch.tensor([[c, -s, 3], [s, c, -2], [0, 0, 1.0]])
    volume = torch.eye(4)
    volume[:2, :2] = torch.tensor([[c, s], [s, -c]])  # turn and mirror
    return [
        dict(),
        dict(image_aug=flip_image),
        dict(image_aug=turn_image),
        dict(volume_aug=volume),
        dict(image_aug=turn_image, volume_aug=volume),
    ]


@pytest.mark.parametrize('kwargs', augmentations())
def test_frustum_points_project_back_to_their_cells(kwargs):
    rig = make_rig(**kwargs)
    points = frustum_points(rig, BINS, 4, 8)  # (1, N, D, 4, 8, 3)
    for n in range(3):
        uv, depth = rig[0].project(points[0, n].reshape(-1, 3))
        uv = uv[n].view(-1, 4, 8, 2)
        u = (torch.arange(8) + 0.5) * 8
        v = (torch.arange(4) + 0.5) * 8
        torch.testing.assert_close(
            uv[..., 0], u.expand_as(uv[..., 0]), atol=2e-3, rtol=0
        )
        torch.testing.assert_close(
            uv[..., 1], v[:, None].expand_as(uv[..., 1]), atol=2e-3, rtol=0
        )
        centers = BINS.centers('cpu')[:, None, None]
        depth = depth[n].view(-1, 4, 8)
        torch.testing.assert_close(
            depth, centers.expand_as(depth), atol=1e-4, rtol=0
        )


def test_cells_at_the_edges_and_bins_at_their_starts():
    landing = Landing(cells='edges', depths='starts')
    rig = make_rig()
    points = frustum_points(rig, BINS, 4, 8, landing)
    for n in range(3):
        uv, depth = rig[0].project(points[0, n].reshape(-1, 3))
        uv = uv[n].view(-1, 4, 8, 2)
        low, high = uv.amin(dim=(0, 1, 2)), uv.amax(dim=(0, 1, 2))
        torch.testing.assert_close(low, torch.zeros(2), atol=2e-3, rtol=0)
        size = torch.tensor([rig.width - 1.0, rig.height - 1.0])
        torch.testing.assert_close(high, size, atol=2e-3, rtol=0)
        starts = BINS.centers('cpu') - BINS.step / 2
        found = depth[n].view(-1, 4, 8)[:, 0, 0]
        torch.testing.assert_close(found, starts, atol=1e-4, rtol=0)


def test_truncation_lifts_what_is_just_below_the_floor():
    low, size = torch.tensor(GRID.min), torch.tensor(GRID.size)
    inside = low + 0.5 * size
    below, far_below = inside.clone(), inside.clone()
    below[2] -= 0.9 * size[2]
    far_below[2] -= 1.6 * size[2]
    points = torch.stack((inside, below, far_below))
    assert GRID.locate(points)[1].tolist() == [True, False, False]
    index, kept = Landing(voxels='truncate').locate(points, GRID)
    assert kept.tolist() == [True, True, False]
    assert index[0].tolist() == index[1].tolist() == [0, 0, 0]


def test_a_lit_cell_lands_in_the_voxel_at_its_depth():
    rig = make_rig()
    context = torch.zeros(1, 3, 2, 4, 8)
    depth = torch.zeros(1, 3, BINS.count, 4, 8)
    context[0, 1, :, 2, 5] = torch.tensor([1.0, 2.0])
    depth[0, 1, 4, 2, 5] = 1.0
    volume = forward_projection(context, depth, rig, BINS, GRID)
    point = frustum_points(rig, BINS, 4, 8)[0, 1, 4, 2, 5]
    index, inside = GRID.locate(point)
    assert inside
    assert volume[0, :, index[0], index[1], index[2]].tolist() == [1, 2]
    assert volume.sum() == 3


def test_means_are_sums_over_the_number_of_points():
    rig = make_rig()
    torch.manual_seed(0)
    context = torch.randn(1, 3, 2, 4, 8)
    depth = torch.rand(1, 3, BINS.count, 4, 8)
    summed = forward_projection(context, depth, rig, BINS, GRID)
    mass = forward_projection(
        torch.ones_like(context[:, :, :1]), depth, rig, BINS, GRID
    )
    # counted one by one
    count = torch.zeros(GRID.shape)
    index, inside = GRID.locate(frustum_points(rig, BINS, 4, 8)[0])
    for x, y, z in index[inside].tolist():
        count[x, y, z] += 1
    assert count.max() > 3
    means = mean_projection(context, depth, rig, BINS, GRID)
    expected = torch.cat([summed, mass], dim=1) * 10 / count.clamp(min=1)
    torch.testing.assert_close(means[:, :3], expected)
    torch.testing.assert_close(means[0, 3], torch.log(1 + count))


def test_a_mean_does_not_say_how_near_the_camera_is():
    """Frames of one rig are alike in a sum, whatever their images say."""
    rig = make_rig()
    torch.manual_seed(0)
    frames = torch.randn(8, 1, 3, 2, 4, 8) + 1  # a context with a mean
    depth = torch.full((1, 3, BINS.count, 4, 8), 1 / BINS.count)

    def share_between_frames(project):
        volumes = torch.stack(
            [project(f, depth, rig, BINS, GRID)[0, :2] for f in frames]
        )
        return volumes.var(dim=0).mean() / volumes.var()

    assert share_between_frames(mean_projection) > 2 * share_between_frames(
        forward_projection
    )


def test_depth_bins_and_their_centers_agree():
    assert BINS.count == 10
    assert BINS.centers('cpu')[[0, 9]].tolist() == [1.5, 10.5]
    assert BINS.index(BINS.centers('cpu')).tolist() == list(range(10))


@pytest.mark.parametrize('step', [0.0, 3.0, math.nan])
def test_depth_bins_must_fill_their_range(step):
    with pytest.raises(ValueError, match='divides'):
        DepthBins(start=1.0, stop=11.0, step=step)


def test_pooling_depth_features_equals_a_loop():
    """Two samples, two of the three cameras overlapping in many voxels."""
    g = torch.Generator().manual_seed(0)
    rig = CameraRig.stack([make_rig()[0], make_rig(**augmentations()[4])[0]])
    context = torch.rand(2, 3, 4, 2, 4, generator=g)
    depth = torch.rand(2, 3, BINS.count, 2, 4, generator=g)
    index, inside = GRID.locate(frustum_points(rig, BINS, 2, 4))
    expected = torch.zeros(2, 4, *GRID.shape)
    for b, n, d, i, j in inside.nonzero().tolist():
        x, y, z = index[b, n, d, i, j]
        expected[b, :, x, y, z] += (
            depth[b, n, d, i, j] * context[b, n, :, i, j]
        )
    assert 0 < inside.sum() < inside.numel()
    torch.testing.assert_close(
        forward_projection(context, depth, rig, BINS, GRID), expected
    )


def test_the_nearest_return_of_a_cell_counts():
    depth = torch.zeros(1, 1, 4, 4)
    depth[0, 0, 0, 0], depth[0, 0, 1, 1] = 7.0, 3.0
    # nearer or farther than any bin, and so no target that could hide one
    depth[0, 0, 2, 2], depth[0, 0, 2, 3], depth[0, 0, 3, 0] = 0.5, 9.0, 11.0
    pooled = pool_depth(depth, (2, 2), BINS)
    assert pooled[0, 0].tolist() == [[3, 0], [0, 9]]
    with pytest.raises(ValueError, match='4x4'):
        pool_depth(depth, (3, 2), BINS)


def make_lifter(**kwargs):
    torch.manual_seed(0)
    args = dict(
        in_channels=6,
        channels=8,
        grid=GRID,
        mid_channels=8,
        depth_bins=dict(start=1.0, stop=11.0, step=1.0),
        backward=dict(num_anchors=3, num_heads=2, feedforward_channels=16),
    )
    return FBOccLifter(**{**args, **kwargs})


def lift(lifter, features, rig):
    """Volume and logits of one frame."""
    return lifter([ImageFeatures((features,))], rig[:, None])


def test_depth_loss_by_hand():
    lifter = make_lifter(depth_weight=2.0)
    logits = torch.zeros(1, 1, 10, 1, 2)
    logits[0, 0, 3] = math.log(3.0)  # probabilities 3/12 and 1/12
    target = torch.zeros(1, 1, 8, 16)
    target[0, 0, 3, 3] = 4.5  # bin 3 of the first cell
    target[0, 0, 3, 12] = 50.0  # beyond the last bin: not counted
    batch = OccBatch(metas=[{}], rig=None, gt_depth=target)
    loss = lifter.loss(logits, batch)['loss_depth']
    expected = -2.0 * (math.log(3 / 12) + 9 * math.log(11 / 12))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    target[0, 0, 3, 12] = 10.5  # bin 9 of the second cell
    second = -2.0 * (
        math.log(1 / 12) + 8 * math.log(11 / 12) + math.log(9 / 12)
    )
    loss = lifter.loss(logits, batch)['loss_depth']
    assert float(loss) == pytest.approx((expected + second) / 2, rel=1e-5)


def test_a_depth_that_is_surely_wrong_can_still_be_learned():
    """Probabilities clipped at 1e-6 would have no gradient here."""
    logits = torch.zeros(1, 1, 10, 1, 1)
    logits[0, 0, 7] = 40.0
    logits.requires_grad_()
    target = torch.full((1, 1, 8, 8), 3.5)  # bin 2
    batch = OccBatch(metas=[{}], rig=None, gt_depth=target)
    make_lifter().loss(logits, batch)['loss_depth'].backward()
    gradient = logits.grad.flatten()
    torch.testing.assert_close(
        gradient[[2, 7]], torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0
    )


def test_no_return_at_all_costs_nothing_and_keeps_the_graph():
    lifter = make_lifter()
    logits = torch.zeros(1, 1, 10, 1, 2, requires_grad=True)
    batch = OccBatch(metas=[{}], rig=None, gt_depth=torch.zeros(1, 1, 8, 16))
    loss = lifter.loss(logits, batch)['loss_depth']
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_a_missing_depth_target_is_named():
    with pytest.raises(ValueError, match='LidarDepth'):
        make_lifter().loss(
            torch.zeros(1, 1, 10, 1, 1), OccBatch(metas=[{}], rig=None)
        )


def test_batches_are_independent_and_gradients_reach_everything():
    lifter = make_lifter()
    rig = CameraRig.stack([make_rig()[0], make_rig(**augmentations()[4])[0]])
    features = torch.rand(2, 3, 6, 4, 8, requires_grad=True)
    volume, logits = lift(lifter, features, rig)
    assert volume.shape == (2, 8, *GRID.shape)
    assert logits.shape == (2, 3, 10, 4, 8)
    target = 10 * torch.rand(2, 3, HEIGHT, WIDTH)
    batch = OccBatch(metas=[{}] * 2, rig=rig, gt_depth=target)
    (
        volume.square().mean() + lifter.loss(logits, batch)['loss_depth']
    ).backward()
    idle = [n for n, p in lifter.named_parameters() if p.grad is None]
    assert not idle and features.grad.abs().max() > 0
    lifter.eval()
    with torch.no_grad():
        both = lift(lifter, features, rig)[0]
        second = lift(lifter, features[1:], rig[1:])[0]
    torch.testing.assert_close(both[1:], second)


def test_the_order_of_cameras_does_not_matter():
    lifter, rig = make_lifter().eval(), make_rig()
    features = torch.rand(1, 3, 6, 4, 8)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        straight = lift(lifter, features, rig)[0]
        permuted = lift(lifter, features[:, order], rig[:, order])[0]
    torch.testing.assert_close(straight, permuted, atol=1e-5, rtol=1e-5)


def test_cameras_of_features_and_rig_must_agree():
    with pytest.raises(ValueError, match='cameras'):
        lift(make_lifter(), torch.rand(1, 2, 6, 4, 8), make_rig())


def test_a_camera_that_sees_no_pillar_adds_nothing():
    lifter, rig = make_lifter().eval(), make_rig()
    rig.ref2cam[0, 2, 2, 3] -= 1000.0  # the grid is behind the camera
    features = torch.rand(1, 3, 6, 4, 8)
    with torch.no_grad():
        both = lift(lifter, features[:, :2], rig[:, :2])[0]
        torch.testing.assert_close(lift(lifter, features, rig)[0], both)
        blind = lift(lifter, features[:, 2:], rig[:, 2:])[0]
    assert blind.isfinite().all()


ANCHORS = VoxelGrid(GRID.range, (12, 8, 3)).centers().flatten(0, 1)


def attend(attention, query, position, views, context, depth):
    """As BackwardProjection calls it."""
    belief = depth_belief(depth, views, BINS) * views.visible
    return attention(query, position, views, context, belief)


def make_attention():
    torch.manual_seed(0)
    return DepthAwareCrossAttention(8, 2, 3, 2).eval()


def plain_(attention):
    """No offsets, and layers that hand on what they get."""
    with torch.no_grad():
        attention.offsets.bias.zero_()
        for layer in (attention.value, attention.output):
            layer.weight.copy_(torch.eye(8))
            layer.bias.zero_()


def seen_anchors(rig):
    """bool (N, Q, A) of one sample."""
    uv, depth = rig[0].project(ANCHORS.flatten(0, 1))
    inside = (uv > 0) & (uv < torch.tensor([WIDTH, HEIGHT]))
    return (inside.all(-1) & (depth > 0)).view(rig.num_cameras, -1, 3)


def test_attention_reads_nothing_where_no_surface_is_believed():
    attention, rig = make_attention(), make_rig()
    query = torch.rand(1, 12 * 8, 8)
    context = torch.rand(1, 3, 8, 4, 8)
    position = torch.zeros(12 * 8, 8)
    views = find_views(rig, ANCHORS)

    def read(depth):
        return attend(attention, query, position, views, context, depth)

    with torch.no_grad():
        none = read(torch.zeros(1, 3, 10, 4, 8))
        all_over = read(torch.full((1, 3, 10, 4, 8), 0.1))
    # what is left is the residual and the output layer's bias
    torch.testing.assert_close(none, query + attention.output.bias)
    seen = seen_anchors(rig).any(-1).any(0)
    changed = (all_over - none).abs().amax(-1)[0] > 1e-6
    assert torch.equal(changed, seen)


def test_each_camera_lists_the_pillars_that_it_sees():
    rig = CameraRig.stack([make_rig()[0], make_rig(**augmentations()[4])[0]])
    views = find_views(rig, ANCHORS)
    for b in range(2):
        seen = seen_anchors(rig[b : b + 1])
        for n in range(3):
            listed = views.visible[b, n].any(-1)
            pillars = views.index[b, n, listed]
            assert torch.equal(pillars, seen[n].any(-1).nonzero()[:, 0])
            assert torch.equal(views.visible[b, n, listed], seen[n, pillars])
        hits = seen.any(-1).sum(0).clamp(min=1)
        assert torch.equal(views.hits[b], hits)


def test_belief_is_the_depth_probability_of_the_anchor():
    """Linear in the image between cell centres, one bin, no dark rim."""
    rig = make_rig()
    views = find_views(rig, ANCHORS)
    u = ((torch.arange(8) + 0.5) * 8).expand(4, 8)
    bins = torch.arange(1.0, 11.0).view(-1, 1, 1)
    depth = (100 * bins + u).expand(1, 3, 10, 4, 8)
    belief = depth_belief(depth, views, BINS)[views.visible]
    expected = 100 * (BINS.index(views.depth) + 1) + (
        views.uv[..., 0] * WIDTH
    ).clamp(4, WIDTH - 4)
    torch.testing.assert_close(
        belief, expected[views.visible], atol=5e-3, rtol=0
    )


def test_a_pillar_reads_the_pixel_that_it_projects_to():
    """Features that hold their own u are read as the anchors' mean u."""
    attention, rig = make_attention(), make_rig(views=1)
    plain_(attention)
    u = ((torch.arange(8) + 0.5) * 8).expand(1, 1, 8, 4, 8)
    views = find_views(rig, ANCHORS)
    query = torch.zeros(1, 12 * 8, 8)
    with torch.no_grad():
        out = attend(
            attention, query, query[0], views, u, torch.ones(1, 1, 10, 4, 8)
        )
    pixels = views.uv * torch.tensor([WIDTH, HEIGHT])
    # whole pillars away from the rim, where zeros are read
    safe = (pixels > 4) & (pixels < torch.tensor([WIDTH - 4, HEIGHT - 4]))
    safe = safe.all(-1).all(-1) & views.visible.all(-1)
    assert safe.sum() > 5
    read = out[0, views.index[safe]]
    expected = pixels[..., 0].mean(-1)[safe]
    torch.testing.assert_close(
        read, expected[:, None].expand_as(read), atol=1e-3, rtol=0
    )


def test_two_cameras_at_one_place_count_as_one():
    """Their answers are averaged, not added."""
    attention, rig = make_attention(), make_rig(views=1)
    query, position = torch.rand(1, 12 * 8, 8), torch.rand(12 * 8, 8)
    context, depth = torch.rand(1, 1, 8, 4, 8), torch.rand(1, 1, 10, 4, 8)
    twice = torch.tensor([0, 0])
    with torch.no_grad():
        one, two = (
            attend(
                attention,
                query,
                position,
                find_views(rig[:, order], ANCHORS),
                context[:, order],
                depth[:, order],
            )
            for order in (twice[:1], twice)
        )
    torch.testing.assert_close(one, two)


def test_pillars_read_their_neighbours_along_the_right_axes():
    """Offsets are (y, x) in cells of an X by Y map."""
    torch.manual_seed(0)
    attention = BEVSelfAttention(8, 2, num_points=1)
    plain_(attention)
    query = torch.rand(1, 12, 7, 8)
    position = torch.rand(12 * 7, 8)

    def attend():
        with torch.no_grad():
            out = attention(query.flatten(1, 2), position, (12, 7))
        return out.view(1, 12, 7, 8) - query  # less the residual

    torch.testing.assert_close(attend(), query)
    offsets = attention.offsets.bias.data.view(2, 2)
    offsets[:] = torch.tensor([1.0, 0.0])
    torch.testing.assert_close(attend()[:, :, :-1], query[:, :, 1:])
    offsets[:] = torch.tensor([0.0, 2.0])
    torch.testing.assert_close(attend()[:, :-2], query[:, 2:])


def test_offsets_start_as_a_star_whose_points_all_differ_in_distance():
    layer = StarAttention(8, 4, num_references=4, points_per_reference=2)
    star = layer.offsets.bias.view(4, 4, 2, 2)
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    # FB-Occ's eight points: anchors first, 1 to 4 cells, then 5 to 8
    for a in range(4):
        for j in range(2):
            torch.testing.assert_close(
                star[:, a, j], expected * (4 * j + a + 1)
            )
    with pytest.raises(ValueError, match='6 channels'):
        StarAttention(6, 4, 1, 1)


def test_attention_starts_as_in_fb_occ():
    torch.manual_seed(0)
    layer = StarAttention(80, 8, num_references=4, points_per_reference=2)
    # Xavier's bound, which torch's own start (1 / sqrt(80)) stays below
    bound = (6 / 160) ** 0.5
    for linear in (layer.value, layer.output):
        assert 0.99 * bound < linear.weight.abs().max() <= bound
        assert not linear.bias.any()
    # all points count the same at first, wherever the query is
    assert not layer.weights.weight.any() and not layer.weights.bias.any()
    assert not layer.offsets.weight.any()


def test_the_camera_vector_follows_the_volume_augmentation():
    plain = camera_vector(make_rig())
    turned = camera_vector(make_rig(**augmentations()[3]))
    assert plain.shape == (3, CAMERA_NUMBERS)
    # K in thousands of pixels, then the image augmentation
    torch.testing.assert_close(
        plain[0, :10],
        torch.tensor([0.1, 0.1, 0.08, 0.045, 0.4, 0, 0, 0.4, 0, 0]),
    )
    shifted = camera_vector(make_rig(**augmentations()[1]))
    torch.testing.assert_close(shifted[0, 8], torch.tensor(0.064))
    assert torch.equal(plain[:, :10], turned[:, :10])
    assert not torch.equal(plain[:, 10:], turned[:, 10:])


def test_the_full_size_lifter_has_the_parameters_it_should():
    lifter = FBOccLifter(
        in_channels=256,
        channels=80,
        grid=dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8)),
        backward=dict(),
    )
    m = 512
    conv = 9 * m * m + 2 * m  # 3x3, no bias, with norm
    gate = (22 * m + m) + 3 * (m * m + m)
    aspp = (m * m + 2 * m) + 3 * conv + (m * m + m) + (5 * m * m + 2 * m)
    depth_net = (
        (9 * 256 * m + 2 * m)
        + 2 * 22
        + 2 * gate
        + 6 * conv
        + aspp
        + 2 * (m * 80 + 80)
    )
    c = 80
    linear = c * c + c
    star4, star8 = 8 * 4, 8 * 8
    self_attention = 2 * linear + (c + 1) * (2 * star4) + (c + 1) * star4
    cross_attention = 2 * linear + (c + 1) * (2 * star8) + (c + 1) * star8
    feedforward = c * 320 + 320 + 320 * c + c
    backward = (
        c * 100 * 100
        + 2 * 40 * 100
        + self_attention
        + cross_attention
        + feedforward
        + 3 * 2 * c
    )
    assert sum(p.numel() for p in lifter.parameters()) == depth_net + backward


def test_a_lifter_of_means():
    lifter = make_lifter(pooling='mean', backward=None)
    volume, _ = lift(lifter, torch.randn(1, 3, 6, 4, 8), make_rig())
    assert volume.shape == (1, 8, *GRID.shape)
    volume.sum().backward()
    assert lifter.depth_net.context.weight.grad.abs().sum() > 0
    for wrong in (dict(channels=2, backward=None), dict()):
        with pytest.raises(ValueError, match="pooling='mean' needs"):
            make_lifter(pooling='mean', **wrong)
