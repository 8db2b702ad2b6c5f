"""Chosen pixels are those of whole images, values and gradients."""

import sys

import pytest
import torch
from scenes import (
    HEIGHT,
    WIDTH,
    differentiable,
    ortho,
    pinhole,
    random_scene,
)
from stand_in_gsplat import stand_in_gsplat

from occsplat.rendering import (
    gsplat_backend,
    numba_arrays,
    numba_pixel_backend,
    numba_pixels,
    rasterize,
    rasterize_pixels,
    render_pixels,
    torch_backend,
)
from occsplat.rendering.output import RenderSettings
from occsplat.structures import CameraRig, Cameras, Gaussians

BACKENDS = pytest.mark.parametrize('backend', ['torch', 'numba'])
OUTPUTS = ('features', 'depth', 'alpha', 'first_hit')
SIZE = dict(width=WIDTH, height=HEIGHT)


def some_pixels(cameras, count=300, seed=0):
    """In any order; with so many of them some are the same."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack(
        [
            torch.randint(size, (count,), generator=generator)
            for size in (cameras, HEIGHT, WIDTH)
        ],
        dim=1,
    )


def near_and_behind():
    """Splats larger than the image, and some behind the camera."""
    scene = random_scene(80, rotated=True)
    scene['means'][:10, 2] = torch.linspace(0.15, 0.9, 10)
    scene['means'][10:20, 2] *= -1
    return scene


def opaque():
    scene = random_scene(600)
    scene['opacities'][:] = 1
    return scene


def mirrored():
    viewmats, Ks = pinhole(2)
    viewmats[:, 0] *= -1
    return viewmats, Ks


def augmented():
    """Flipped, turned and sheared images."""
    viewmats, Ks = pinhole(2)
    image = torch.tensor([[-0.9, 0.2, 45.0], [0.1, 1.1, -3.0], [0, 0, 1.0]])
    return viewmats, image @ Ks


CASES = {
    'pinhole': dict(),
    'three cameras': dict(cameras=pinhole(3)),
    'rotated': dict(scene=random_scene(rotated=True)),
    'near and behind': dict(scene=near_and_behind(), cameras=pinhole(2)),
    'beside the image': dict(scene=random_scene(spread=2.0)),
    'many, opaque': dict(scene=opaque()),
    'ortho': dict(cameras=ortho(), camera_model='ortho'),
    'background': dict(background=torch.tensor([0.3, -1, 2, 0, 0.5])),
    'mirrored': dict(cameras=mirrored()),
    'augmented': dict(cameras=augmented()),
    '18 channels': dict(scene=random_scene(channels=18)),
    'one channel': dict(scene=random_scene(channels=1)),
    'no channel': dict(scene=random_scene(channels=0)),
    'near, far, blur, clamp': dict(
        near=4.0, far=9.0, eps2d=1.0, max_alpha=0.8
    ),
}


def case(name):
    """Scene and the other arguments."""
    options = dict(CASES[name])
    scene = dict(options.pop('scene', random_scene()))
    viewmats, Ks = options.pop('cameras', pinhole())
    return scene, dict(options, viewmats=viewmats, Ks=Ks, **SIZE)


def whole(pixels, **arguments):
    """The same pixels out of whole images."""
    out = rasterize(**arguments)
    at = pixels.unbind(1)
    return [getattr(out, name)[at] for name in OUTPUTS]


def only(pixels, **arguments):
    out = rasterize_pixels(pixels=pixels, **arguments)
    return [getattr(out, name) for name in OUTPUTS]


def with_gradients(function, pixels, scene, dtype=torch.float32, **options):
    """Outputs, and the gradients of a fixed random loss."""
    leaves = differentiable(scene, dtype)
    if 'background' in options:
        background = options.pop('background').detach().to(dtype, copy=True)
        leaves['background'] = background.requires_grad_()
    out = function(pixels, **leaves, **options)
    generator = torch.Generator().manual_seed(1)
    torch.autograd.backward(
        out[:3],
        [torch.randn(x.shape, generator=generator).to(dtype) for x in out[:3]],
    )
    return out, {name: leaf.grad for name, leaf in leaves.items()}


def assert_close(actual, expected, tolerance):
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    error = (actual.double() - expected.double()).norm()
    assert float(error) <= tolerance * float(expected.double().norm())


def assert_agree(actual, expected, tolerance, grad_tolerance):
    """Outputs (tolerance 0: to the last bit) and gradients."""
    for x, y in zip(actual[0], expected[0]):
        assert_close(x.detach(), y.detach(), tolerance)
    assert actual[1].keys() == expected[1].keys()
    for name, grad in expected[1].items():
        assert_close(actual[1][name], grad, grad_tolerance)


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize(
    'backend, dtype, tolerances',
    [
        ('torch', torch.float64, (1e-10, 1e-10)),
        ('torch', torch.float32, (1e-5, 1e-5)),
        ('numba', torch.float32, (0, 2e-5)),
    ],
)
def test_the_pixels_of_whole_images(name, backend, dtype, tolerances):
    scene, options = case(name)
    options['backend'] = backend
    pixels = some_pixels(len(options['Ks']))
    actual = with_gradients(only, pixels, scene, dtype, **options)
    expected = with_gradients(whole, pixels, scene, dtype, **options)
    assert float(expected[0][2].detach().sum()) > 10
    assert_agree(actual, expected, *tolerances)


@pytest.mark.parametrize('name', CASES)
def test_backends_agree(name):
    scene, options = case(name)
    pixels = some_pixels(len(options['Ks']))
    actual = with_gradients(only, pixels, scene, **options, backend='numba')
    expected = with_gradients(
        only, pixels, scene, torch.float64, **options, backend='torch'
    )
    expected = (
        [x.float() for x in expected[0]],
        {name: x.float() for name, x in expected[1].items()},
    )
    assert_agree(actual, expected, 2e-6, 2e-5)


@pytest.mark.parametrize('model', ['pinhole', 'ortho'])
def test_gradcheck(model):
    """In float64, away from the thresholds at which the image jumps."""
    scene = random_scene(4, channels=2, seed=3, rotated=True)
    scene['scales'] = scene['scales'] + 2
    scene['opacities'] = 0.2 + 0.3 * scene['opacities']
    leaves = differentiable(scene, torch.float64)
    background = torch.tensor([0.3, -1.0]).double().requires_grad_()
    viewmats, Ks = ortho() if model == 'ortho' else pinhole()

    def function(*tensors):
        *tensors, background = tensors
        return only(
            torch.tensor([[0, 4, 1], [0, 0, 5], [0, 2, 2], [0, 4, 1]]),
            **dict(zip(leaves, tensors)),
            background=background,
            viewmats=viewmats,
            Ks=Ks / 4,
            width=6,
            height=5,
            camera_model=model,
            backend='torch',
        )[:3]

    assert torch.autograd.gradcheck(
        function, (*leaves.values(), background), eps=1e-7, atol=1e-5
    )


@BACKENDS
def test_order_and_duplicates_of_pixels(backend):
    """A pixel is the same wherever it stands; twice, it counts twice."""
    scene, options = case('near and behind')
    pixels = some_pixels(2, 50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    twice = torch.cat((pixels[order], pixels))
    leaves, others = differentiable(scene), differentiable(scene)
    expected = only(pixels, **leaves, **options, backend=backend)
    actual = only(twice, **others, **options, backend=backend)
    for x, y in zip(actual, expected):
        y = torch.cat((y[order], y))
        if backend == 'numba':
            assert torch.equal(x, y)
        else:
            assert_close(x, y, 1e-5)
    sum((x**2).sum() for x in expected[:3]).backward()
    sum((x**2).sum() for x in actual[:3]).backward()
    for name, leaf in leaves.items():
        assert_close(others[name].grad, 2 * leaf.grad, 1e-5)


def test_crowded_cells_and_rows_of_a_scanner():
    """More pixels of a cell than a group holds, and one a cell."""
    scene, options = case('rotated')
    rows, columns = torch.meshgrid(
        torch.arange(HEIGHT), torch.arange(WIDTH), indexing='ij'
    )
    every = torch.stack((0 * rows, rows, columns), dim=-1).view(-1, 3)
    for pixels in (every, every[every[:, 1] % 15 == 3], every[:1]):
        actual = with_gradients(only, pixels, scene, **options)
        expected = with_gradients(whole, pixels, scene, **options)
        assert_agree(actual, expected, 0, 2e-5)


def test_thread_count_changes_no_bit(monkeypatch):
    scene = random_scene(300, rotated=True)
    viewmats, Ks = pinhole(3)
    monkeypatch.setattr(numba_arrays, 'MANY', 10)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            out, grads = with_gradients(
                only, some_pixels(3, 500), scene, viewmats=viewmats, Ks=Ks,
                background=torch.ones(5), backend='numba', **SIZE,
            )  # fmt: skip
            results.append([*out, *grads.values()])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for x, y in zip(results[0], other):
            assert torch.equal(x, y)


def test_a_camera_without_pixels_is_not_projected(monkeypatch):
    """And what no pixel can see is not matched."""
    cameras, matched = [], []
    project_all, match = numba_arrays.project_all, numba_pixels.match

    def projecting(arrays, some, settings):
        cameras.append(len(some))
        return project_all(arrays, some, settings)

    def matching(*arguments):
        result = match(*arguments)
        matched.append((len(arguments[0]), len(result[0])))
        return result

    monkeypatch.setattr(numba_pixel_backend, 'project_all', projecting)
    monkeypatch.setattr(numba_pixel_backend, 'match', matching)
    scene, options = case('three cameras')
    pixels = torch.tensor([[1, 3, 4], [1, 3, 8]])
    only(pixels, **scene, **options, backend='numba')
    assert cameras == [1]
    ((seen, kept),) = matched
    assert 0 < kept < seen / 2


@BACKENDS
@pytest.mark.parametrize(
    'why', ['no Gaussian', 'no pixel', 'behind', 'beside', 'faint', 'nan']
)
@pytest.mark.parametrize('channels', [0, 5])
def test_nothing_to_see(backend, why, channels):
    scene = random_scene(0 if why == 'no Gaussian' else 7, channels)
    if why == 'behind':
        scene['means'][:, 2] *= -1
    elif why == 'beside':
        scene['means'][:, 0] += 1000
    elif why == 'faint':
        scene['opacities'][:] = 0.003
    elif why == 'nan':
        scene['means'][:] = float('nan')
    leaves = differentiable(scene)
    background = torch.arange(1.0 * channels, requires_grad=True)
    viewmats, Ks = pinhole(2)
    pixels = some_pixels(2, 0 if why == 'no pixel' else 20)
    out = rasterize_pixels(
        **leaves, viewmats=viewmats, Ks=Ks, pixels=pixels,
        background=background, backend=backend, **SIZE,
    )  # fmt: skip
    assert out.depth.shape == out.alpha.shape == (len(pixels),)
    assert out.first_hit_depth().tolist() == [0] * len(pixels)
    assert float(out.alpha.sum()) == float(out.depth.sum()) == 0
    expected = background.expand(len(pixels), channels)
    assert torch.equal(out.features, expected)
    loss = out.features.sum() + out.expected_depth().sum() + out.alpha.sum()
    loss.backward()
    assert background.grad.tolist() == [1.0 * len(pixels)] * channels
    for name, leaf in leaves.items():
        assert torch.equal(leaf.grad, torch.zeros_like(leaf)), name


def test_only_what_needs_a_gradient_gets_one():
    scene, options = case('rotated')
    scene['features'] = scene['features'].clone().requires_grad_()
    out = only(some_pixels(1), **scene, **options, backend='numba')
    out[0].sum().backward()
    assert scene['means'].grad is None
    assert scene['features'].grad.norm() > 0


def test_splats_are_compared_some_at_a_time(monkeypatch):
    scene, options = case('rotated')
    pixels = some_pixels(1)
    options['backend'] = 'torch'
    expected = only(pixels, **scene, **options)
    monkeypatch.setattr(torch_backend, 'COMPARISONS', 7 * len(pixels))
    for x, y in zip(only(pixels, **scene, **options), expected):
        assert torch.equal(x, y)


def test_gsplat_renders_images_and_keeps_the_pixels(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gsplat', stand_in_gsplat('1.5.3'))
    scene = random_scene()
    viewmats, Ks = pinhole(2)
    arguments = (
        Gaussians(**scene), torch.ones(5),
        Cameras(viewmats, Ks, WIDTH, HEIGHT), some_pixels(2), RenderSettings(),
    )  # fmt: skip
    actual = gsplat_backend.render_pixels(*arguments)
    expected = torch_backend.render_pixels(*arguments)
    for name in OUTPUTS[:3]:
        torch.testing.assert_close(
            getattr(actual, name), getattr(expected, name)
        )
    assert actual.first_hit is None


def test_render_pixels_takes_gaussians_and_a_rig():
    scene = random_scene(rotated=True)
    viewmats, Ks = pinhole(2)
    rig = CameraRig.from_matrices(viewmats, Ks, WIDTH, HEIGHT)
    pixels = some_pixels(2)
    out = render_pixels(Gaussians(**scene), rig, pixels, far=8.0)
    expected = only(pixels, **scene, viewmats=viewmats, Ks=Ks, far=8.0, **SIZE)
    for name, y in zip(OUTPUTS, expected):
        assert torch.equal(getattr(out, name), y)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(pixels=[[0, 37, 0]]), r'rows in \[0, 37\), got 37 to 37'),
        (dict(pixels=[[0, 0, 9], [0, 0, 50]]), r'columns.*\[0, 50\), got 9'),
        (dict(pixels=[[1, 0, 0], [2, 0, 0]]), r'cameras.*\[0, 2\), got 1 to'),
        (dict(pixels=[[0, -1, 0]]), r'rows in \[0, 37\), got -1 to -1'),
        (dict(pixels=[0, 0, 0]), r'pixels: .*\(3, 3\), got \(3,\)'),
        (dict(pixels=[[0, 0]]), r'pixels: .*\(1, 3\), got \(1, 2\)'),
        (dict(pixels=[[0.0, 0, 0]]), 'integers, got torch.float32'),
        (
            dict(viewmats=torch.eye(4)[:0], Ks=torch.eye(3)[None][:0]),
            'at least 1 camera, got 0',
        ),
        (dict(opacities=torch.ones(59)), r'opacities: .*\(60,\), got \(59,\)'),
        (dict(background=torch.ones(4)), r'background: .*\(5,\), got \(4,\)'),
        (dict(max_alpha=1.0), 'max_alpha'),
        (dict(backend='gsplat'), 'needs cuda tensors, got cpu'),
    ],
)
def test_mistakes_are_named(change, message):
    viewmats, Ks = pinhole(2)
    arguments = random_scene() | dict(
        viewmats=viewmats, Ks=Ks, pixels=[[0, 0, 0]], **SIZE
    )
    arguments |= change
    arguments['pixels'] = torch.tensor(arguments['pixels'])
    with pytest.raises(ValueError, match=message):
        rasterize_pixels(**arguments)
