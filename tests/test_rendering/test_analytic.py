"""One and two splats, worked out by hand, on both CPU backends."""

import math

import pytest
import torch

from occsplat.rendering import rasterize

BACKENDS = pytest.mark.parametrize('backend', ['torch', 'numba'])
F, C = 40.0, 16.5  # the optical axis meets the centre of pixel 16
SIZE = 33


def render(z, opacity, scale=0.2, features=None, offset=(0.0, 0.0), **kwargs):
    """Gaussians on the optical axis, at depths z."""
    z = torch.as_tensor(z, dtype=torch.float32)
    count = len(z)
    means = torch.zeros(count, 3)
    means[:, 0], means[:, 1], means[:, 2] = offset[0], offset[1], z
    if features is None:
        features = torch.eye(count)
    K = torch.tensor([[[F, 0, C], [0, F, C], [0, 0, 1]]])
    opacity = torch.as_tensor(opacity, dtype=torch.float32).expand(count)
    return rasterize(
        means,
        torch.full((count, 3), scale),
        opacity,
        features,
        torch.eye(4)[None],
        K,
        SIZE,
        SIZE,
        **kwargs,
    )


def squared_distance():
    axis = torch.arange(SIZE) + 0.5 - C
    return axis[:, None] ** 2 + axis[None] ** 2


@BACKENDS
@pytest.mark.parametrize('camera_model', ['pinhole', 'ortho'])
def test_one_splat_is_a_gaussian(backend, camera_model):
    z, opacity, scale, eps2d = 4.0, 0.7, 0.2, 0.3
    out = render(
        [z],
        opacity,
        scale if camera_model == 'pinhole' else scale / z,
        torch.tensor([[2.0, -3.0]]),
        backend=backend,
        camera_model=camera_model,
    )
    # at z = 4 a pinhole sees 10 pixels per metre, an ortho camera 40
    variance = (F * scale / z) ** 2 + eps2d
    alpha = opacity * torch.exp(-squared_distance() / (2 * variance))
    alpha[alpha < 1 / 255] = 0
    torch.testing.assert_close(out.alpha[0], alpha, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out.features[0, ..., 0], 2 * out.alpha[0])
    torch.testing.assert_close(out.features[0, ..., 1], -3 * out.alpha[0])
    torch.testing.assert_close(out.depth[0], z * out.alpha[0])
    expected = torch.where(alpha > 0, z, 0.0)
    torch.testing.assert_close(
        out.expected_depth()[0], expected, rtol=1e-4, atol=0
    )
    # the support ends where the exponential says it does
    radius = math.sqrt(2 * variance * math.log(255 * opacity))
    seen = squared_distance().sqrt() < radius
    assert torch.equal(out.alpha[0] > 0, seen)


@BACKENDS
def test_the_front_splat_hides_the_back_one(backend):
    front = render([2.0, 5.0], [0.6, 0.5], backend=backend)
    back = render([5.0, 2.0], [0.6, 0.5], backend=backend)
    assert front.features[0, 16, 16].tolist() == pytest.approx(
        [0.6, 0.4 * 0.5], abs=1e-6
    )
    assert back.features[0, 16, 16].tolist() == pytest.approx(
        [0.5 * 0.6, 0.5], abs=1e-6
    )
    assert float(front.depth[0, 16, 16]) == pytest.approx(
        0.6 * 2 + 0.4 * 0.5 * 5, abs=1e-5
    )


@BACKENDS
def test_equal_depth_goes_by_index(backend):
    out = render([3.0, 3.0, 3.0], [0.5, 0.5, 0.5], backend=backend)
    assert out.features[0, 16, 16].tolist() == pytest.approx(
        [0.5, 0.25, 0.125], abs=1e-6
    )


@BACKENDS
def test_the_last_bit_of_the_depth_counts(backend):
    near = torch.tensor(3.0)
    far = torch.nextafter(near, torch.tensor(4.0))
    out = render(torch.stack((far, near)), [0.5, 0.5], backend=backend)
    assert out.features[0, 16, 16].tolist() == pytest.approx(
        [0.25, 0.5], abs=1e-6
    )


@BACKENDS
def test_the_splat_that_would_make_a_pixel_opaque_is_left_out(backend):
    """1 - 0.999 = 1e-3, so that alpha > 0.9 behind it reaches 1e-4.

    The pixel is closed from then on, for fainter splats as well.
    """
    out = render([1.0, 2.0, 3.0], [1.0, 0.95, 0.3], backend=backend)
    assert out.features[0, 16, 16].tolist() == pytest.approx(
        [0.999, 0, 0], abs=1e-6
    )
    out = render([1.0, 2.0, 3.0], [1.0, 0.8, 0.3], backend=backend)
    assert out.features[0, 16, 16].tolist() == pytest.approx(
        [0.999, 0.8e-3, 0.06e-3], abs=1e-6
    )
    out = render([1.0], [1.0], backend=backend, max_alpha=0.99)
    assert float(out.alpha[0, 16, 16]) == pytest.approx(0.99, abs=1e-6)


@BACKENDS
def test_opacity_around_the_threshold(backend):
    faint = render([3.0], [1 / 255 - 1e-5], backend=backend)
    assert float(faint.alpha.max()) == 0
    seen = render([3.0], [1 / 255 + 1e-5], backend=backend)
    assert float(seen.alpha[0, 16, 16]) == pytest.approx(
        1 / 255 + 1e-5, abs=1e-6
    )
    assert 1 <= int((seen.alpha > 0).sum()) < 9


@BACKENDS
def test_near_and_far_are_included(backend):
    out = render(
        [1.9, 2.0, 6.0, 6.1],
        [0.5] * 4,
        backend=backend,
        near=2.0,
        far=6.0,
    )
    assert out.features[0, 16, 16].tolist() == pytest.approx(
        [0, 0.5, 0.25, 0], abs=1e-6
    )


@BACKENDS
def test_a_splat_can_fill_the_image(backend):
    out = render([1.0], [0.8], scale=50.0, backend=backend)
    assert float(out.alpha.min()) == pytest.approx(0.8, abs=1e-3)


@BACKENDS
def test_a_splat_beyond_the_edge_reaches_in(backend):
    """Its centre is 2 pixels left of the image, its radius above that."""
    out = render([4.0], [0.9], offset=(-1.85, 0.0), backend=backend)
    assert float(out.alpha[0, 16, 0]) > 0.1
    assert float(out.alpha[0, :, 12:].max()) == 0


@BACKENDS
def test_the_jacobian_is_clamped_beside_the_image(backend):
    """A large Gaussian far to the side must not smear over the image.

    At x / z = 3 the unclamped Jacobian would stretch it to a standard
    deviation of 40 * sqrt(1 + 3^2) * 0.7 = 89 pixels, and alpha 20 pixels
    inside the left edge would be about 0.25.
    """
    slope, scale = -3.0, 0.7
    limit = -(C / F + 0.3 * 0.5 * SIZE / F)
    out = render([1.0], [0.99], scale, offset=(slope, 0.0), backend=backend)
    variance = (F * scale) ** 2 * (1 + limit**2) + 0.3
    distance = 16.5 - (C + F * slope)
    alpha = 0.99 * math.exp(-(distance**2) / (2 * variance))
    alpha = alpha if alpha >= 1 / 255 else 0
    assert float(out.alpha[0, 16, 16]) == pytest.approx(alpha, abs=1e-5)
    out = render([1.0], [0.99], 1.5, offset=(slope, 0.0), backend=backend)
    variance = (F * 1.5) ** 2 * (1 + limit**2) + 0.3
    alpha = 0.99 * math.exp(-(distance**2) / (2 * variance))
    assert float(out.alpha[0, 16, 16]) == pytest.approx(alpha, rel=1e-4)


@BACKENDS
def test_quats_turn_the_long_axis(backend):
    """90 degrees about z: an ellipse along x becomes one along y."""
    half = math.sqrt(0.5)
    K = torch.tensor([[[F, 0, C], [0, F, C], [0, 0, 1]]])
    images = []
    for quats in (None, torch.tensor([[half, 0, 0, half]])):
        out = rasterize(
            torch.tensor([[0, 0, 4.0]]),
            torch.tensor([[0.6, 0.2, 0.1]]),
            torch.tensor([0.9]),
            torch.ones(1, 1),
            torch.eye(4)[None],
            K,
            SIZE,
            SIZE,
            quats=quats,
            backend=backend,
        )
        images.append(out.alpha[0])
    assert float(images[0][16, 22]) > float(images[0][22, 16]) + 0.1
    torch.testing.assert_close(images[1], images[0].T, rtol=0, atol=1e-5)


@BACKENDS
def test_background_shows_where_there_is_light_left(backend):
    out = render(
        [3.0],
        [0.6],
        features=torch.tensor([[1.0, 0.0]]),
        background=torch.tensor([0.5, -2.0]),
        backend=backend,
    )
    assert out.features[0, 0, 0].tolist() == [0.5, -2.0]
    assert out.features[0, 16, 16].tolist() == pytest.approx(
        [0.6 + 0.4 * 0.5, 0.4 * -2], abs=1e-6
    )
    assert float(out.depth[0, 0, 0]) == 0


@BACKENDS
def test_opacity_exactly_at_the_thresholds(backend):
    """1/255 is still seen, max_alpha still has a gradient."""
    lowest = torch.tensor([1 / 255])
    out = render([3.0], lowest, backend=backend)
    assert float(out.alpha[0, 16, 16]) == pytest.approx(1 / 255, rel=1e-6)
    assert int((out.alpha > 0).sum()) == 1
    below = torch.nextafter(lowest, torch.zeros(1))
    assert float(render([3.0], below, backend=backend).alpha.max()) == 0
    largest = torch.tensor([0.75], requires_grad=True)
    out = render([3.0], largest, backend=backend, max_alpha=0.75)
    out.alpha[0, 16, 16].backward()
    assert float(largest.grad) == 1
    above = torch.tensor([0.7501], requires_grad=True)
    out = render([3.0], above, backend=backend, max_alpha=0.75)
    assert float(out.alpha[0, 16, 16].detach()) == 0.75
    out.alpha[0, 16, 16].backward()
    assert float(above.grad) == 0


@BACKENDS
def test_an_orthographic_camera_above_the_grid(backend):
    """Columns along x, rows against y, depth is the height below it."""
    above = torch.tensor(
        [[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 10], [0, 0, 0, 1]]
    )
    K = torch.tensor([[[2.0, 0, 20], [0, 2, 20], [0, 0, 1]]])
    means = torch.tensor([[6.25, 3.25, 1.5], [6.25, 3.25, -0.5]])
    out = rasterize(
        means,
        torch.full((2, 3), 0.2),
        torch.tensor([0.6, 0.9]),
        torch.eye(2),
        above[None],
        K,
        40,
        40,
        camera_model='ortho',
        backend=backend,
    )
    # x = 6.25 m is column 32.5, y = 3.25 m is row 13.5: pixel centres
    assert out.features[0, 13, 32].tolist() == pytest.approx(
        [0.6, 0.4 * 0.9], abs=1e-5
    )
    assert float(out.depth[0, 13, 32]) == pytest.approx(
        0.6 * 8.5 + 0.36 * 10.5, abs=1e-4
    )
    assert float(out.first_hit_depth()[0, 13, 32]) == 8.5
    assert float(out.alpha[0, 13, 32]) == float(out.alpha.max())
