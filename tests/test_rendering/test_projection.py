"""Projection against gsplat's own functions in plain torch."""

import numpy as np
import pytest
import torch
from scenes import HEIGHT, WIDTH, differentiable, ortho, pinhole, random_scene

from occsplat.rendering import numba_projection as numba
from occsplat.rendering import torch_backend
from occsplat.rendering.numba_arrays import camera_rows
from occsplat.rendering.output import RenderSettings
from occsplat.structures import Cameras, Gaussians

SETTINGS = RenderSettings()
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
    cameras = Cameras(
        viewmats.to(dtype), Ks.to(dtype), WIDTH, HEIGHT, camera_model
    )
    return differentiable(scene, dtype), cameras


def gsplat_projection(scene, cameras):
    covariances, _ = gsplat._quat_scale_to_covar_preci(
        scene['quats'], scene['scales'], compute_preci=False
    )
    _, centres, depths, conics, _ = gsplat._fully_fused_projection(
        scene['means'],
        covariances,
        cameras.viewmats.to(scene['means']),
        cameras.Ks.to(scene['means']),
        cameras.width,
        cameras.height,
        SETTINGS.eps2d,
        near_plane=SETTINGS.near,
        far_plane=SETTINGS.far,
        camera_model=cameras.camera_model,
    )
    return centres[0], conics[0], depths[0]


CASES = pytest.mark.parametrize(
    'camera_model, rotated',
    [('pinhole', False), ('pinhole', True), ('ortho', False), ('ortho', True)],
)


@CASES
def test_torch_projects_like_gsplat(camera_model, rotated):
    scene, cameras = case(camera_model, rotated)
    names = ('means', 'scales', 'quats')

    def gradients(outputs):
        generator = torch.Generator().manual_seed(0)
        loss = sum(
            (x * torch.randn(x.shape, generator=generator)).sum()
            for x in outputs
        )
        return torch.autograd.grad(loss, [scene[name] for name in names])

    expected = gsplat_projection(scene, cameras)
    centres, covariances, depths = torch_backend.project(
        Gaussians(**scene), cameras, 0, SETTINGS.eps2d
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
    scene, cameras = case(camera_model, rotated, torch.float32)
    with torch.no_grad():
        doubles = {name: x.double() for name, x in scene.items()}
        expected = gsplat_projection(doubles, cameras)
        arrays = {name: x.numpy() for name, x in scene.items()}
    count = len(arrays['means'])
    (camera,) = camera_rows(cameras)
    splats, boxes, owners = numba.project(
        arrays['means'],
        arrays['scales'],
        arrays['quats'] if rotated else np.empty((0, 4), np.float32),
        np.ones(count, np.float32),
        np.arange(count, dtype=np.int32),
        camera,
        cameras.width,
        cameras.height,
        SETTINGS.near,
        SETTINGS.far,
        SETTINGS.eps2d,
        cameras.ortho,
    )
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
