"""Queries read the images of the cameras that see them."""

import pytest
import torch
import torch.nn.functional as F
from small_rig import HEIGHT, WIDTH, make_rig

from occsplat.models.lifting.camera_attention import CameraAttention, Sampling
from occsplat.models.lifting.seen_queries import find_views
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-12, -8, -2, 12, 8, 4), shape=(6, 4, 3))
SHAPES = [(8, 16), (4, 8)]
HEADS, CHANNELS = 2, 8


def anchors_of(count):
    """Points of four queries each, (Q, A, 3)."""
    points = GRID.centers().view(-1, 3)
    return points[: len(points) // count * count].view(-1, count, 3)


def make_attention(*samplings, dtype=torch.float64, levels=2):
    torch.manual_seed(0)
    attention = CameraAttention(CHANNELS, HEADS, levels, samplings)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return attention.to(dtype)


def naive(attention, i, query, points, maps, rig):
    """One query, camera, head, level and point after another."""
    sampling = attention.samplings[i]
    layout = (HEADS, len(maps), sampling.count)
    offsets = attention.offsets[i](query).unflatten(-1, (*layout, 2))
    weights = attention.weights[i](query).unflatten(-1, (HEADS, -1))
    weights = weights.softmax(-1).unflatten(-1, layout[1:])
    per_head = CHANNELS // HEADS
    out = query.clone()
    for b, q in torch.cartesian_prod(
        torch.arange(len(query)), torch.arange(query.shape[1])
    ).tolist():
        answers = []
        for n in range(rig.num_cameras):
            uv, depth = rig[b].project(
                points[q].expand(rig.num_cameras, -1, -1)[n]
            )
            uv, depth = uv[n], depth[n]
            inside = (uv > 0).all(-1) & (uv[:, 0] < WIDTH)
            inside &= (uv[:, 1] < HEIGHT) & (depth > 1e-5)
            if not inside.any():
                continue
            answer = query.new_zeros(CHANNELS)
            for head in range(HEADS):
                part = slice(head * per_head, (head + 1) * per_head)
                for level, image in enumerate(maps):
                    height, width = image.shape[-2:]
                    value = F.linear(
                        image[b, n].permute(1, 2, 0),
                        attention.value.weight,
                        attention.value.bias,
                    )[..., part]
                    for p in range(sampling.count):
                        a = p // sampling.points
                        if depth[a] <= 1e-5:
                            continue
                        u, v = uv[a] / uv.new_tensor([WIDTH, HEIGHT])
                        du, dv = offsets[b, q, head, level, p]
                        x = u * width + du - 0.5
                        y = v * height + dv - 0.5
                        share = weights[b, q, head, level, p]
                        for yy in (int(y.floor()), int(y.floor()) + 1):
                            for xx in (int(x.floor()), int(x.floor()) + 1):
                                if not (0 <= xx < width and 0 <= yy < height):
                                    continue
                                near = (1 - (x - xx).abs()) * (
                                    1 - (y - yy).abs()
                                )
                                answer = answer.index_add(
                                    0,
                                    torch.arange(part.start, part.stop),
                                    share * near * value[yy, xx],
                                )
            answers.append(answer)
        mean = query.new_zeros(CHANNELS)
        if answers:
            mean = torch.stack(answers).mean(0)
        out[b, q] = query[b, q] + attention.output(mean)
    return out


def test_the_layer_is_its_formula():
    """Values and gradients, two samples of two sets of queries."""
    torch.manual_seed(1)
    attention = make_attention(Sampling(4, 2), Sampling(2, 3))
    rig = make_rig()
    rig = rig[[0, 0]].to(torch.float64)
    rig.ref2cam[1, :, :3, 3] += 0.3
    points = [anchors_of(4)[:6].double(), anchors_of(2)[:5].double()]
    queries = [
        torch.randn(2, len(p), CHANNELS, dtype=torch.float64) for p in points
    ]
    maps = [
        torch.randn(2, 3, CHANNELS, *s, dtype=torch.float64) for s in SHAPES
    ]
    for tensor in (*queries, *maps):
        tensor.requires_grad_()
    inputs = [*queries, *maps, *attention.parameters()]
    views = [find_views(rig, p) for p in points]
    fast = attention(queries, views, maps)
    slow = [
        naive(attention, i, query, points[i], maps, rig)
        for i, query in enumerate(queries)
    ]
    for one, two in zip(fast, slow):
        torch.testing.assert_close(one, two)
    goal = [torch.randn_like(one) for one in fast]
    for one, two in zip(
        torch.autograd.grad(
            sum((g * f).sum() for g, f in zip(goal, fast)), inputs
        ),
        torch.autograd.grad(
            sum((g * s).sum() for g, s in zip(goal, slow)), inputs
        ),
    ):
        torch.testing.assert_close(one, two)


def test_points_of_an_anchor_follow_one_another():
    assert Sampling(4, 2).anchor_of_point().tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ]
    assert Sampling(4, 2).count == 8


def plain(attention):
    """No offsets, equal weights, values and outputs as they are."""
    for layers in (attention.offsets, attention.weights):
        for layer in layers:
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    for layer in (attention.value, attention.output):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return attention


def test_a_query_reads_the_pixels_that_it_projects_to():
    """Maps that hold their own pixel are read as the mean of the anchors."""
    attention = plain(make_attention(Sampling(2, 2), dtype=torch.float32))
    rig, points = make_rig(views=1), anchors_of(2)
    maps = []
    for height, width in SHAPES:
        v, u = torch.meshgrid(
            (torch.arange(height) + 0.5) / height * HEIGHT,
            (torch.arange(width) + 0.5) / width * WIDTH,
            indexing='ij',
        )
        image = torch.zeros(1, 1, CHANNELS, height, width)
        image[0, 0, 0], image[0, 0, 1] = u, v
        maps.append(image)
    views = find_views(rig, points)
    with torch.no_grad():
        (out,) = attention(
            [torch.zeros(1, len(points), CHANNELS)], [views], maps
        )
    pixels = views.uv * torch.tensor([WIDTH, HEIGHT])
    # away from the rim, where zeros are read
    safe = (pixels > 4) & (pixels < torch.tensor([WIDTH - 4, HEIGHT - 4]))
    safe = safe.all(-1).all(-1) & views.visible.all(-1)
    assert safe.sum() > 3
    torch.testing.assert_close(
        out[0, views.index[safe], :2], pixels.mean(-2)[safe]
    )


def test_nobody_sees_and_several_see():
    """The residual and the output's bias; a mean, not a sum."""
    attention = make_attention(Sampling(1, 2), dtype=torch.float32, levels=1)
    rig = make_rig(views=1)
    points = GRID.centers().view(-1, 1, 3)
    query = torch.randn(1, len(points), CHANNELS)
    image = torch.randn(1, 1, CHANNELS, *SHAPES[0])
    twice = torch.tensor([0, 0])
    with torch.no_grad():
        (one,), (two,) = (
            attention(
                [query], [find_views(rig[:, order], points)], [image[:, order]]
            )
            for order in (twice[:1], twice)
        )
    torch.testing.assert_close(one, two)
    uv, depth = rig.project(points[:, 0].expand(1, -1, -1))
    size = torch.tensor([WIDTH, HEIGHT])
    seen = ((uv > 0) & (uv < size)).all(-1) & (depth > 0)
    left_alone = query + attention.output.bias
    changed = (one - left_alone).abs().amax(-1)[0] > 1e-6
    assert torch.equal(changed, seen[0, 0])
    assert 0 < changed.sum() < len(changed)


def test_the_first_offsets_are_a_star():
    attention = CameraAttention(8, 8, 2, [Sampling(2, 2)])
    bias = attention.offsets[0].bias.view(8, 2, 4, 2)
    torch.testing.assert_close(bias[0, 0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(bias[2, 1, 2], torch.tensor([0.0, 3.0]))
    torch.testing.assert_close(bias[1, 1, 3], torch.tensor([4.0, 4.0]))


def test_channels_divide_into_heads():
    with pytest.raises(ValueError, match='10 channels .* 4 heads'):
        CameraAttention(10, 4, 1, [Sampling(1, 1)])
