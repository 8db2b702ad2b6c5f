"""Empty scenes, gradients where nothing is seen, and errors."""

import os
import subprocess
import sys
from pathlib import Path

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
    RenderOutput,
    gsplat_backend,
    numba_backend,
    rasterize,
    rasterize_labels,
    rasterize_pair,
    rasterize_pixels,
    torch_backend,
)
from occsplat.rendering.output import RenderSettings
from occsplat.structures import Cameras, Gaussians

BACKENDS = pytest.mark.parametrize('backend', ['torch', 'numba'])


def run(scene, cameras=None, **options):
    viewmats, Ks = cameras or pinhole(2)
    options = dict(width=WIDTH, height=HEIGHT) | options
    return rasterize(**scene, viewmats=viewmats, Ks=Ks, **options)


@BACKENDS
@pytest.mark.parametrize('why', ['empty', 'behind', 'beside', 'faint', 'nan'])
def test_nothing_to_see(backend, why):
    scene = random_scene(0 if why == 'empty' else 7)
    if why == 'behind':
        scene['means'][:, 2] *= -1
    elif why == 'beside':
        scene['means'][:, 0] += 1000
    elif why == 'faint':
        scene['opacities'][:] = 0.003
    elif why == 'nan':
        scene['means'][:] = float('nan')
    leaves = differentiable(scene)
    background = torch.arange(5.0, requires_grad=True)
    out = run(leaves, background=background, backend=backend)
    assert float(out.alpha.sum()) == float(out.depth.sum()) == 0
    assert torch.equal(out.features, background.expand_as(out.features))
    loss = out.features.sum() + out.expected_depth().sum() + out.alpha.sum()
    loss.backward()
    assert background.grad.tolist() == [2.0 * HEIGHT * WIDTH] * 5
    for name, leaf in leaves.items():
        assert torch.equal(leaf.grad, torch.zeros_like(leaf)), name


def test_expected_depth_of_an_empty_pixel():
    """0, with gradient 0: not 0 / 0, nor 0 times infinity."""
    alpha = torch.tensor([[[0.0, 0.5]]], requires_grad=True)
    depth = torch.tensor([[[0.0, 2.0]]], requires_grad=True)
    mean = RenderOutput(torch.zeros(1, 1, 2, 0), depth, alpha).expected_depth()
    assert mean.tolist() == [[[0, 4]]]
    mean.sum().backward()
    assert depth.grad.tolist() == [[[0, 2]]]
    assert alpha.grad.tolist() == [[[0, -8]]]


@BACKENDS
def test_clamped_alpha_has_no_gradient(backend):
    """Above max_alpha, opacity and shape no longer change the pixel."""
    opacity = torch.tensor([1.0], requires_grad=True)
    features = torch.ones(1, 1, requires_grad=True)
    K = torch.tensor([[[40.0, 0, 0.5], [0, 40.0, 0.5], [0, 0, 1]]])
    out = rasterize(
        torch.tensor([[0, 0, 2.0]]),
        torch.full((1, 3), 0.2),
        opacity,
        features,
        torch.eye(4)[None],
        K,
        1,
        1,
        backend=backend,
    )
    out.features.sum().backward()
    assert float(opacity.grad) == 0
    assert float(features.grad) == pytest.approx(0.999)


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
        out = rasterize(
            **dict(zip(leaves, tensors)),
            background=background,
            viewmats=viewmats,
            Ks=Ks / 4,
            width=6,
            height=5,
            camera_model=model,
            backend='torch',
        )
        return out.features, out.depth, out.alpha

    assert torch.autograd.gradcheck(
        function, (*leaves.values(), background), eps=1e-7, atol=1e-5
    )


def test_only_what_needs_a_gradient_gets_one():
    scene = random_scene()
    scene['features'].requires_grad_()
    run(scene, backend='numba').features.sum().backward()
    assert scene['means'].grad is None
    assert scene['features'].grad.norm() > 0


def test_a_forked_worker_can_rasterise():
    """As a DataLoader's worker does after its parent has rasterised."""
    script = """
import sys, torch
sys.path[:0] = {paths!r}
from scenes import pinhole, random_scene
from occsplat.rendering import rasterize
torch.set_num_threads(2)
viewmats, Ks = pinhole(2)

class Renders(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        out = rasterize(**random_scene(), viewmats=viewmats, Ks=Ks,
                        width=50, height=37, backend='numba')
        return out.alpha

before = Renders()[0]
for alpha in torch.utils.data.DataLoader(Renders(), num_workers=1):
    assert torch.equal(alpha[0], before)
print('rendered')
"""
    paths = [
        str(Path(__file__).parent),
        str(Path(__file__).parents[2] / 'projects'),
    ]
    result = subprocess.run(
        [sys.executable, '-c', script.format(paths=paths)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.stdout.strip() == 'rendered', result.stderr


def test_compiled_code_is_kept_on_disk():
    """Another process loads every kernel and compiles none."""
    script = """
import sys, torch
sys.path[:0] = {paths!r}
from scenes import differentiable, pinhole, random_scene
from occsplat.rendering import numba_blending as blending
from occsplat.rendering import numba_pixels as pixels
from occsplat.rendering import numba_projection as projection
from occsplat.rendering import rasterize, rasterize_pixels
viewmats, Ks = pinhole()
camera = dict(viewmats=viewmats, Ks=Ks, width=50, height=37)
for function, options in (
    (rasterize, dict()),
    (rasterize_pixels, dict(pixels=torch.tensor([[0, 3, 4]]))),
):
    leaves = differentiable(random_scene())
    function(**leaves, **camera, **options).features.sum().backward()
for kernel in (
    projection.project, projection.arrange, projection.project_backward,
    blending.blend_columns, blending.blend_columns_backward,
    blending.gather_slots, pixels.match, pixels.blend_groups,
    pixels.blend_groups_backward, pixels.gather_entries,
):
    assert sum(kernel.stats.cache_hits.values()) == 1, (kernel, kernel.stats)
    assert not kernel.stats.cache_misses, (kernel, kernel.stats)
print('loaded')
"""
    run(differentiable(random_scene()), backend='numba').alpha.sum().backward()
    viewmats, Ks = pinhole()
    out = rasterize_pixels(
        **differentiable(random_scene()),
        viewmats=viewmats,
        Ks=Ks,
        width=WIDTH,
        height=HEIGHT,
        pixels=torch.tensor([[0, 3, 4]]),
    )
    out.features.sum().backward()
    paths = [
        str(Path(__file__).parent),
        str(Path(__file__).parents[2] / 'projects'),
    ]
    result = subprocess.run(
        [sys.executable, '-c', script.format(paths=paths)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.stdout.strip() == 'loaded', result.stderr


@pytest.mark.slow
def test_no_kernel_leaves_its_arrays(tmp_path):
    """Every kernel compiled with bounds checks, on scenes of all kinds."""
    script = """
import sys, torch
sys.path[:0] = {paths!r}
from scenes import differentiable, pinhole, random_scene
from occsplat.rendering import rasterize, rasterize_pair, rasterize_pixels
torch.set_num_threads(1)
viewmats, Ks = pinhole(2)
camera = dict(viewmats=viewmats, Ks=Ks, width=50, height=37)
corners = torch.tensor([[0, 0, 0], [1, 36, 49], [1, 36, 49], [0, 20, 30]])
for count, channels in ((200, 18), (200, 0), (1, 1), (0, 5), (0, 0)):
    scene = random_scene(count, channels, rotated=count > 1)
    scene['opacities'][::3] = 1
    for function, options in (
        (rasterize, dict()),
        (rasterize_pair, dict(labels=torch.arange(count) % 7 - 3,
                              num_classes=4)),
        (rasterize_pixels, dict(pixels=corners)),
        (rasterize_pixels, dict(pixels=corners[:0])),
        (rasterize_pixels, dict(pixels=corners[1:2].repeat(40, 1))),
    ):
        out = function(**differentiable(scene), **camera, **options)
        out = out[0] if isinstance(out, tuple) else out
        (out.features.sum() + out.depth.sum() + out.alpha.sum()).backward()
print('inside')
"""
    paths = [
        str(Path(__file__).parent),
        str(Path(__file__).parents[2] / 'projects'),
    ]
    checked = dict(NUMBA_BOUNDSCHECK='1', NUMBA_CACHE_DIR=str(tmp_path))
    result = subprocess.run(
        [sys.executable, '-c', script.format(paths=paths)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | checked,
    )
    assert result.stdout.strip() == 'inside', result.stderr


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(means=torch.zeros(60, 2)), r'means: .*\(60, 3\), got \(60, 2\)'),
        (dict(scales=torch.ones(60)), r'scales: .*\(60, 3\), got \(60,\)'),
        (dict(opacities=torch.ones(60, 1)), r'opacities: .*\(60,\)'),
        (dict(features=torch.ones(59, 5)), r'features: .*\(60, 5\)'),
        (dict(features=torch.ones(60)), r'features'),
        (dict(quats=torch.ones(60, 3)), r'quats: .*\(60, 4\)'),
        (dict(background=torch.ones(4)), r'background: .*\(5,\), got \(4,\)'),
        (dict(viewmats=torch.eye(4)), r'viewmats: .*\(2, 4, 4\)'),
        (dict(Ks=torch.ones(2, 3, 4)), r'Ks: .*\(2, 3, 3\)'),
        (dict(Ks=torch.ones(2, 3, 3, requires_grad=True)), 'detach'),
        (dict(means=torch.zeros(60, 3, device='meta')), 'one device'),
        (dict(width=0), 'width and height must be positive, got 0 x 37'),
        (dict(near=0.0), '0 < near < far, got 0.0'),
        (dict(far=0.05), '0 < near < far'),
        (dict(eps2d=-1.0), 'eps2d'),
        (dict(max_alpha=1.0), 'max_alpha'),
        (dict(camera_model='fisheye'), "'pinhole', 'ortho'.*'fisheye'"),
        (dict(backend='cuda'), "'auto' or one of"),
        (dict(backend='gsplat'), 'needs cuda tensors, got cpu'),
    ],
)
def test_mistakes_are_named(change, message):
    viewmats, Ks = pinhole(2)
    arguments = random_scene() | dict(
        viewmats=viewmats, Ks=Ks, width=WIDTH, height=HEIGHT
    )
    with pytest.raises(ValueError, match=message):
        rasterize(**(arguments | change))


@pytest.mark.parametrize(
    'labels, message',
    [
        (torch.full((60,), 255), r'\[0, 5\), got 255 to 255'),
        (torch.full((60,), -1), r'got -1 to -1'),
        (torch.zeros(59, dtype=torch.long), r'\(60,\), got \(59,\)'),
        (torch.zeros(60), 'integers, got torch.float32'),
    ],
)
def test_mistakes_in_labels_are_named(labels, message):
    scene = random_scene()
    del scene['features']
    viewmats, Ks = pinhole(2)
    with pytest.raises(ValueError, match=message):
        rasterize_labels(
            **scene,
            labels=labels,
            num_classes=5,
            viewmats=viewmats,
            Ks=Ks,
            width=WIDTH,
            height=HEIGHT,
        )


def test_kernels_never_see_a_class_that_there_is_not(monkeypatch):
    """They index with it without a check, whatever the splat's weight."""
    seen = []
    kernel = numba_backend.blend_columns

    def spy(view, opacities, features, labels, *arguments):
        seen.append(labels)
        return kernel(view, opacities, features, labels, *arguments)

    monkeypatch.setattr(numba_backend, 'blend_columns', spy)
    labels = torch.arange(60) % 7 - 2
    viewmats, Ks = pinhole(2)
    rasterize_pair(
        **random_scene(),
        labels=labels,
        num_classes=5,
        viewmats=viewmats,
        Ks=Ks,
        width=WIDTH,
        height=HEIGHT,
        backend='numba',
    )
    seen = [x for x in seen if len(x)]
    assert seen and all(0 <= x.min() and x.max() < 5 for x in seen)
    assert labels.min() == -2


def test_mistakes_in_pairs_and_scenes_are_named():
    scene = random_scene()
    viewmats, Ks = pinhole(2)
    camera = dict(viewmats=viewmats, Ks=Ks, width=WIDTH, height=HEIGHT)
    labels = torch.full((60,), -1)
    labels[3] = 5
    with pytest.raises(ValueError, match='or be negative, got -1 to 5'):
        rasterize_pair(**scene, labels=labels, num_classes=5, **camera)
    labels[3] = 4
    with pytest.raises(ValueError, match=r'features: .*\(60, 2\), got \(59'):
        rasterize_pair(
            **scene,
            labels=labels,
            num_classes=5,
            label_features=torch.zeros(59, 2),
            **camera,
        )
    scenes = {name: x.expand(3, *x.shape) for name, x in scene.items()}
    with pytest.raises(ValueError, match="scenes: .*'viewmats': 2"):
        rasterize(**scenes, **camera)
    none = {name: x[:0] for name, x in scenes.items()}
    camera['viewmats'], camera['Ks'] = viewmats[None][:0], Ks[None][:0]
    with pytest.raises(ValueError, match='at least 1'):
        rasterize(**none, **camera)


@pytest.mark.parametrize(
    'version, max_alpha, channels', [('1.5.3', 0.999, 18), ('1.6.0', 0.99, 20)]
)
def test_how_gsplat_is_called(monkeypatch, version, max_alpha, channels):
    """1.6 has no kernel for 18 + 1 channels and does not pad: 21 it is."""
    calls = []
    monkeypatch.setitem(sys.modules, 'gsplat', stand_in_gsplat(version, calls))
    scene = random_scene(channels=18)
    viewmats, Ks = pinhole(2)
    cameras = Cameras(viewmats, Ks, WIDTH, HEIGHT)
    arguments = (Gaussians(**scene), torch.ones(18), cameras)
    settings = RenderSettings(max_alpha=max_alpha)
    actual = gsplat_backend.render(*arguments, settings)
    expected = torch_backend.render(*arguments, settings)
    assert isinstance(actual, RenderOutput)
    torch.testing.assert_close(actual.features, expected.features)
    torch.testing.assert_close(actual.depth, expected.depth)
    torch.testing.assert_close(actual.alpha, expected.alpha)
    assert calls == [dict(channels=channels, packed=True, mode='RGB+D')]
    other = RenderSettings(max_alpha=0.9)
    with pytest.raises(ValueError, match=f'max_alpha={max_alpha}'):
        gsplat_backend.render(*arguments, other)


def test_unknown_or_missing_gsplat(monkeypatch):
    arguments = (*[torch.zeros(1)] * 3, None)
    monkeypatch.setitem(sys.modules, 'gsplat', stand_in_gsplat('2.0'))
    with pytest.raises(ValueError, match='gsplat 2.0 is not supported'):
        gsplat_backend.render(*arguments)
    monkeypatch.setitem(sys.modules, 'gsplat', None)
    with pytest.raises(ImportError, match=r"pip install 'occsplat\[gsplat\]'"):
        gsplat_backend.render(*arguments)
