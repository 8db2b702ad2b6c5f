"""Backends against the brute-force definition, values and gradients."""

import pytest
import torch
from scenes import (
    HEIGHT,
    WIDTH,
    brute_force,
    differentiable,
    ortho,
    pinhole,
    random_scene,
)

from occsplat.rendering import rasterize

CASES = {
    'pinhole': dict(),
    'three cameras': dict(cameras=pinhole(3)),
    'rotated': dict(rotated=True, cameras=pinhole(2)),
    'beside the image': dict(spread=2.0),
    'ortho': dict(cameras=ortho(), camera_model='ortho'),
    'ortho rotated': dict(rotated=True, cameras=ortho(), camera_model='ortho'),
    'background': dict(background=torch.tensor([0.3, -1, 2, 0, 0.5])),
    'near, far, blur, clamp': dict(
        near=4.0, far=9.0, eps2d=1.0, max_alpha=0.8
    ),
}


def cotangents(outputs):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(x.shape, generator=generator) for x in outputs]


def with_gradients(function, scene, dtype, **options):
    """Outputs, and the gradients of a fixed random loss."""
    leaves = differentiable(scene, dtype)
    background = options.pop('background', None)
    if background is not None:
        leaves['background'] = (
            background.detach().to(dtype, copy=True).requires_grad_()
        )
    out = function(**leaves, width=WIDTH, height=HEIGHT, **options)
    if not isinstance(out, tuple):
        out = (out.features, out.depth, out.alpha)
    torch.autograd.backward(
        out, [c.to(x.dtype) for c, x in zip(cotangents(out), out)]
    )
    return out, {name: leaf.grad for name, leaf in leaves.items()}


def relative(actual, expected):
    error = (actual.double() - expected.double()).norm()
    return float(error / expected.double().norm())


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('backend', ['torch', 'numba'])
def test_agrees_with_the_definition(case, backend):
    options = dict(CASES[case])
    scene = random_scene(
        rotated=options.pop('rotated', False),
        spread=options.pop('spread', 1.0),
    )
    viewmats, Ks = options.pop('cameras', pinhole())
    options.update(viewmats=viewmats, Ks=Ks)
    dtype = torch.float64 if backend == 'torch' else torch.float32
    expected, expected_grads = with_gradients(
        brute_force, scene, torch.float64, **options
    )
    actual, grads = with_gradients(
        rasterize, scene, dtype, backend=backend, **options
    )
    tolerance = 1e-10 if backend == 'torch' else 2e-5
    for x, y in zip(actual, expected):
        assert x.dtype == dtype
        assert float((x - y).abs().max()) < tolerance
    assert set(grads) == set(expected_grads)
    for name, grad in expected_grads.items():
        assert grad.norm() > 0.01, name
        assert relative(grads[name], grad) < tolerance, name
