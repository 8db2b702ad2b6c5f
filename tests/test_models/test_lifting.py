"""FBOccLifter: geometry, depth loss, depth-aware attention."""

import math

import pytest
import torch

from occsplat.models.lifting import FBOccLifter
from occsplat.models.lifting.backward_projection import (
    DepthAwareCrossAttention,
)
from occsplat.models.lifting.depth_net import CAMERA_NUMBERS, camera_vector
from occsplat.models.lifting.fbocc_lifter import pool_depth
from occsplat.models.lifting.forward_projection import (
    DepthBins,
    forward_projection,
    frustum_points,
)
from occsplat.structures import CameraRig, OccBatch, VoxelGrid

# X, Y and Z differ, so that a transposed axis shows
GRID = VoxelGrid(range=(-12, -8, -2, 12, 8, 4), shape=(12, 8, 3))
BINS = DepthBins(start=1.0, stop=11.0, step=1.0)
WIDTH, HEIGHT = 64, 32


def make_rig(views=3, image_aug=None, volume_aug=None):
    """Cameras 1 m above the origin that look around, (1, N)."""
    ref2cam = []
    for i in range(views):
        angle = 2 * math.pi * i / views + 0.1
        forward = torch.tensor([math.cos(angle), math.sin(angle), 0.0])
        right = torch.tensor([math.sin(angle), -math.cos(angle), 0.0])
        matrix = torch.eye(4)
        matrix[:3, :3] = torch.stack(
            [right, torch.tensor([0.0, 0.0, -1.0]), forward]
        )
        matrix[:3, 3] = -matrix[:3, :3] @ torch.tensor([0.2, 0.1, 1.0])
        ref2cam.append(matrix)
    ref2cam = torch.stack(ref2cam)
    if volume_aug is not None:
        ref2cam = ref2cam @ torch.linalg.inv(volume_aug)
    K = torch.tensor([[100.0, 0, 80], [0, 100.0, 45], [0, 0, 1]])
    aug = torch.diag(torch.tensor([0.4, 0.4, 1.0]))
    if image_aug is not None:
        aug = image_aug @ aug
    return CameraRig(
        ref2cam[None],
        K.expand(1, views, 3, 3),
        aug.expand(1, views, 3, 3),
        WIDTH,
        HEIGHT,
    )


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


def test_depth_bins_and_their_centers_agree():
    assert BINS.count == 10
    assert BINS.index(BINS.centers('cpu')).tolist() == list(range(10))


def test_the_nearest_return_of_a_cell_counts():
    depth = torch.zeros(1, 1, 4, 4)
    depth[0, 0, 0, 0], depth[0, 0, 1, 1] = 7.0, 3.0
    pooled = pool_depth(depth, (2, 2))
    assert pooled[0, 0].tolist() == [[3, 0], [0, 0]]
    with pytest.raises(ValueError, match='4x4'):
        pool_depth(depth, (3, 2))


def make_lifter(**kwargs):
    torch.manual_seed(0)
    return FBOccLifter(
        in_channels=6,
        channels=8,
        grid=GRID,
        mid_channels=8,
        depth_bins=dict(start=1.0, stop=11.0, step=1.0),
        backward=dict(
            num_anchors=3, num_heads=2, feedforward_channels=16
        ),
        **kwargs,
    )


def test_depth_loss_by_hand():
    lifter = make_lifter(depth_weight=2.0)
    depth = torch.full((1, 1, 10, 1, 2), 0.1)
    target = torch.zeros(1, 1, 8, 16)
    target[0, 0, 3, 3] = 4.5  # bin 3 of the first cell
    target[0, 0, 3, 12] = 50.0  # beyond the last bin: not counted
    batch = OccBatch(metas=[{}], rig=None, gt_depth=target)
    expected = -2.0 * (math.log(0.1) + 9 * math.log(0.9))
    loss = lifter.loss(depth, batch)['loss_depth']
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_no_return_at_all_costs_nothing_and_keeps_the_graph():
    lifter = make_lifter()
    depth = torch.full((1, 1, 10, 1, 2), 0.1, requires_grad=True)
    batch = OccBatch(metas=[{}], rig=None, gt_depth=torch.zeros(1, 1, 8, 16))
    loss = lifter.loss(depth, batch)['loss_depth']
    loss.backward()
    assert loss == 0 and not depth.grad.any()


def test_a_missing_depth_target_is_named():
    with pytest.raises(ValueError, match='LidarDepth'):
        make_lifter().loss(
            torch.zeros(1, 1, 10, 1, 1), OccBatch(metas=[{}], rig=None)
        )


def test_batches_are_independent_and_gradients_reach_everything():
    lifter = make_lifter()
    rig = CameraRig.stack([make_rig()[0], make_rig(**augmentations()[4])[0]])
    features = torch.rand(2, 3, 6, 4, 8, requires_grad=True)
    volume, depth = lifter(features, rig)
    assert volume.shape == (2, 8, *GRID.shape)
    assert depth.shape == (2, 3, 10, 4, 8)
    target = 10 * torch.rand(2, 3, HEIGHT, WIDTH)
    batch = OccBatch(metas=[{}] * 2, rig=rig, gt_depth=target)
    (volume.square().mean() + lifter.loss(depth, batch)['loss_depth']).backward()
    idle = [n for n, p in lifter.named_parameters() if p.grad is None]
    assert not idle and features.grad.abs().max() > 0
    lifter.eval()
    with torch.no_grad():
        both = lifter(features, rig)[0]
        second = lifter(features[1:], rig[1:])[0]
    torch.testing.assert_close(both[1:], second)


def test_the_order_of_cameras_does_not_matter():
    lifter, rig = make_lifter().eval(), make_rig()
    features = torch.rand(1, 3, 6, 4, 8)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        straight = lifter(features, rig)[0]
        permuted = lifter(features[:, order], rig[:, order])[0]
    torch.testing.assert_close(straight, permuted, atol=1e-5, rtol=1e-5)


def test_attention_reads_nothing_where_no_surface_is_believed():
    torch.manual_seed(0)
    attention = DepthAwareCrossAttention(8, 2, 3, 2).eval()
    rig = make_rig()
    query = torch.rand(1, 12 * 8, 8)
    anchors = VoxelGrid(GRID.range, (12, 8, 3)).centers().flatten(0, 1)
    context = torch.rand(1, 3, 8, 4, 8)
    position = torch.zeros(12 * 8, 8)

    def attend(depth):
        return attention(query, position, anchors, context, depth, rig, BINS)

    with torch.no_grad():
        none = attend(torch.zeros(1, 3, 10, 4, 8))
        all_over = attend(torch.full((1, 3, 10, 4, 8), 0.1))
    # what is left is the residual and the output layer's bias
    torch.testing.assert_close(none, query + attention.output.bias)
    uv, depth = rig[0].project(anchors.flatten(0, 1))
    inside = (uv[..., 0] > 0) & (uv[..., 0] < WIDTH) & (uv[..., 1] > 0)
    seen = (depth > 0) & inside & (uv[..., 1] < HEIGHT)
    seen = seen.view(3, -1, 3).any(-1).any(0)
    changed = (all_over - none).abs().amax(-1)[0] > 1e-6
    assert torch.equal(changed, seen)


def test_the_camera_vector_follows_the_volume_augmentation():
    plain = camera_vector(make_rig())
    turned = camera_vector(make_rig(**augmentations()[3]))
    assert plain.shape == (3, CAMERA_NUMBERS)
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
