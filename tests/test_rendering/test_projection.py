"""Projection against gsplat's own functions in plain torch."""

import numpy as np
import pytest
import torch
from scenes import HEIGHT, WIDTH, differentiable, ortho, pinhole, random_scene

from occsplat.rendering import numba_projection as numba
from occsplat.rendering import torch_backend
from occsplat.rendering.output import RenderSettings

gsplat = pytest.importorskip(
    'gsplat.cuda._torch_impl', reason='gsplat is not installed'
)


def case(camera_model, rotated, dtype=torch.float64):
    """Gaussians in and beside the image of one generic camera."""
    scene = random_scene(200, rotated=rotated, spread=1.5)
    if camera_model == 'ortho':
        viewmats, Ks = ortho()
    else:
        viewmats, Ks = (x[2:] for x in pinhole(3))
    if not rotated:
        scene['quats'] = torch.tensor([[1.0, 0, 0, 0]]).repeat(200, 1)
    settings = RenderSettings(
        WIDTH, HEIGHT, 0.1, 1e10, 0.3, 0.999, camera_model == 'ortho'
    )
    return (
        differentiable(scene, dtype), viewmats.to(dtype), Ks.to(dtype),
        settings,
    )  # fmt: skip


def gsplat_projection(scene, viewmats, Ks, settings):
    covariances, _ = gsplat._quat_scale_to_covar_preci(
        scene['quats'], scene['scales'], compute_preci=False
    )
    _, centres, depths, conics, _ = gsplat._fully_fused_projection(
        scene['means'],
        covariances,
        viewmats,
        Ks,
        settings.width,
        settings.height,
        settings.eps2d,
        near_plane=settings.near,
        far_plane=settings.far,
        camera_model='ortho' if settings.ortho else 'pinhole',
    )
    return centres[0], conics[0], depths[0]


CASES = pytest.mark.parametrize(
    'camera_model, rotated',
    [('pinhole', False), ('pinhole', True), ('ortho', False), ('ortho', True)],
)


@CASES
def test_torch_projects_like_gsplat(camera_model, rotated):
    scene, viewmats, Ks, settings = case(camera_model, rotated)
    names = ('means', 'scales', 'quats')

    def gradients(outputs):
        generator = torch.Generator().manual_seed(0)
        loss = sum(
            (x * torch.randn(x.shape, generator=generator)).sum()
            for x in outputs
        )
        return torch.autograd.grad(loss, [scene[name] for name in names])

    expected = gsplat_projection(scene, viewmats, Ks, settings)
    centres, covariances, depths = torch_backend.project(
        *(scene[name] for name in names), viewmats[0], Ks[0], settings
    )
    inverse = torch.linalg.inv(covariances)
    conics = torch.stack(
        (inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]), dim=1
    )
    actual = (centres, conics, depths)
    for x, y in zip(actual, expected):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10)
    for x, y in zip(gradients(actual), gradients(expected)):
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-8)


@CASES
def test_numba_projects_like_gsplat(camera_model, rotated):
    scene, viewmats, Ks, settings = case(camera_model, rotated, torch.float32)
    with torch.no_grad():
        doubles = {name: x.double() for name, x in scene.items()}
        expected = gsplat_projection(
            doubles, viewmats.double(), Ks.double(), settings
        )
        arrays = {name: x.numpy() for name, x in scene.items()}
    count = len(arrays['means'])
    K = Ks[0].double().numpy()
    view = viewmats[0].double().numpy()
    splats, boxes, owners = numba.project(
        arrays['means'],
        arrays['scales'],
        arrays['quats'] if rotated else np.empty((0, 4), np.float32),
        np.ones(count, np.float32),
        np.arange(count, dtype=np.int32),
        np.concatenate(
            (
                view[:3, :3].ravel(), view[:3, 3],
                [K[0, 0], K[1, 1], K[0, 2], K[1, 2]],
            )
        ),
        settings.width,
        settings.height,
        settings.near,
        settings.far,
        settings.eps2d,
        settings.ortho,
    )  # fmt: skip
    centres, conics, depths = (x[owners] for x in expected)
    actual = torch.from_numpy(splats).double()
    torch.testing.assert_close(
        actual[:, [numba.U, numba.V]], centres, rtol=1e-6, atol=1e-5
    )
    columns = [numba.CONIC_XX, numba.CONIC_XY, numba.CONIC_YY]
    torch.testing.assert_close(
        actual[:, columns], conics, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        actual[:, numba.DEPTH], depths, rtol=1e-6, atol=1e-6
    )
    # what is left out reaches no pixel, and a box holds all that are reached
    left_out = np.setdiff1d(np.arange(count), owners)
    assert 20 < len(left_out) < count - 20
    alpha, _, _ = alphas(expected[0][left_out], expected[1][left_out])
    assert float(alpha.max()) < 1 / 255
    alpha, u, v = alphas(centres, conics)
    x0, y0, x1, y1 = torch.from_numpy(boxes)[:, :, None, None].unbind(1)
    inside = (u > x0) & (u < x1) & (v > y0) & (v < y1)
    assert float(alpha[~inside].max()) < 1 / 255


def alphas(centres, conics):
    """exp(-sigma) of every splat in every pixel, and the pixel centres."""
    v, u = torch.meshgrid(
        torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing='ij'
    )
    dx, dy = centres[:, 0, None, None] - u, centres[:, 1, None, None] - v
    a, b, c = (conics[:, k, None, None] for k in range(3))
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    return torch.exp(-sigma), u, v
