"""What must not change the image, or must change it in a known way."""

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

from occsplat.rendering import rasterize, rasterize_labels, render
from occsplat.structures import CameraRig, Gaussians

BACKENDS = pytest.mark.parametrize('backend', ['torch', 'numba'])


def images(out):
    return out.features, out.depth, out.alpha


def run(scene, cameras=None, **options):
    viewmats, Ks = cameras or pinhole(2)
    return rasterize(
        **scene,
        viewmats=viewmats,
        Ks=Ks,
        width=WIDTH,
        height=HEIGHT,
        **options,
    )


def test_thread_count_changes_no_bit():
    scene = random_scene(300, rotated=True)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            leaves = differentiable(scene)
            out = run(leaves, pinhole(3), backend='numba')
            sum((x**2).sum() for x in images(out)).backward()
            grads = [leaf.grad for leaf in leaves.values()]
            results.append([*images(out), *grads])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for x, y in zip(results[0], other):
            assert torch.equal(x, y)


def test_tile_borders_do_not_show():
    """One image, and a part of it that is cut into other tiles."""
    scene = random_scene(200)
    viewmats, Ks = ortho()  # a pinhole's clamp depends on the image size
    options = dict(camera_model='ortho', backend='numba')
    whole = run(scene, (viewmats, Ks), **options)
    shifted = Ks.clone()
    shifted[:, :2, 2] -= torch.tensor([21, 5])
    part = rasterize(
        **scene,
        viewmats=viewmats,
        Ks=shifted,
        width=WIDTH - 21,
        height=HEIGHT - 5,
        **options,
    )
    for x, y in zip(images(whole), images(part)):
        torch.testing.assert_close(x[:, 5:, 21:], y, rtol=0, atol=1e-4)


@BACKENDS
def test_order_of_the_gaussians_does_not_show(backend):
    scene = random_scene()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    shuffled = {name: value[order] for name, value in scene.items()}
    for x, y in zip(
        images(run(scene, backend=backend)),
        images(run(shuffled, backend=backend)),
    ):
        torch.testing.assert_close(x, y)


@BACKENDS
def test_channels_are_independent(backend):
    scene = random_scene(channels=19)
    whole = run(scene, backend=backend).features
    features = scene.pop('features')
    parts = [
        run(dict(scene, features=features[:, a:b]), backend=backend).features
        for a, b in ((0, 17), (17, 19))
    ]
    torch.testing.assert_close(whole, torch.cat(parts, -1), rtol=0, atol=1e-6)


def test_no_channels_still_give_depth_and_alpha():
    scene = random_scene(channels=0)
    expected = run(random_scene(), backend='numba')
    for backend in ('torch', 'numba'):
        out = run(scene, backend=backend)
        assert out.features.shape == (2, HEIGHT, WIDTH, 0)
        torch.testing.assert_close(out.depth, expected.depth)


@BACKENDS
def test_labels_render_like_one_hot_features(backend):
    scene = random_scene()
    del scene['features']
    labels = torch.arange(60) % 4
    one_hot = torch.nn.functional.one_hot(labels, 5).float()
    viewmats, Ks = pinhole(2)
    actual = rasterize_labels(
        **scene,
        labels=labels.to(torch.uint8),
        num_classes=5,
        viewmats=viewmats,
        Ks=Ks,
        width=WIDTH,
        height=HEIGHT,
        backend=backend,
    )
    expected = run(dict(scene, features=one_hot), backend=backend)
    for x, y in zip(images(actual), images(expected)):
        assert torch.equal(x, y)
    assert float(actual.features[..., 4].max()) == 0
    torch.testing.assert_close(actual.features.sum(-1), actual.alpha)


@BACKENDS
@pytest.mark.parametrize('rotated', [False, True])
@pytest.mark.parametrize('camera_model', ['pinhole', 'ortho'])
def test_mirrored_world_gives_the_same_image(backend, rotated, camera_model):
    """Mirror the Gaussians and undo it in viewmats of determinant -1."""
    scene = random_scene(rotated=rotated)
    viewmats, Ks = ortho() if camera_model == 'ortho' else pinhole(2)
    options = dict(camera_model=camera_model, backend=backend)
    expected = run(scene, (viewmats, Ks), **options)
    mirror = torch.diag(torch.tensor([1.0, -1, 1, 1]))
    mirrored = dict(scene, means=scene['means'] * torch.tensor([1, -1, 1]))
    if rotated:
        # conjugate: the rotation M R M
        mirrored['quats'] = scene['quats'] * torch.tensor([1, -1, 1, -1])
    actual = run(mirrored, (viewmats @ mirror, Ks), **options)
    for x, y in zip(images(actual), images(expected)):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-4)


@BACKENDS
def test_flipped_and_turned_images(backend):
    """Intrinsics with an image augmentation give the augmented image."""
    scene = random_scene()
    viewmats, Ks = pinhole(2)
    Ks[:, 0, 0] = Ks[:, 1, 1]
    expected = run(scene, (viewmats, Ks), backend=backend)
    flip = torch.tensor([[-1.0, 0, WIDTH], [0, 1, 0], [0, 0, 1]])
    flipped = run(scene, (viewmats, flip @ Ks), backend=backend)
    for x, y in zip(images(flipped), images(expected)):
        torch.testing.assert_close(x, y.flip(2), rtol=0, atol=1e-4)
    # a quarter turn, u' = H - v, v' = u; the clamp of the Jacobian
    # follows the axes, so only the transposed image is comparable
    turn = torch.tensor([[0.0, -1, HEIGHT], [1, 0, 0], [0, 0, 1]])
    turned = rasterize(
        **scene,
        viewmats=viewmats,
        Ks=turn @ Ks,
        width=HEIGHT,
        height=WIDTH,
        backend=backend,
    )
    for x, y in zip(images(turned), images(expected)):
        y = y.transpose(1, 2).flip(2)
        torch.testing.assert_close(x, y, rtol=0, atol=1e-4)


def test_backends_agree_on_other_inputs():
    """Half precision, float64 and autocast end up in float32."""
    scene = random_scene()
    expected = run(scene, backend='torch')
    for dtype in (torch.float64, torch.float32):
        out = run({k: v.to(dtype) for k, v in scene.items()})
        assert out.features.dtype == torch.float32
        torch.testing.assert_close(
            out.features, expected.features, rtol=0, atol=1e-4
        )
    leaves = differentiable(scene)
    cameras = pinhole(2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = dict(leaves, features=leaves['features'].bfloat16())
        for backend in ('torch', 'numba'):
            out = run(half, cameras, backend=backend)
            assert out.features.dtype == torch.float32
            torch.testing.assert_close(out.alpha, expected.alpha)
    out.features.sum().backward()
    assert leaves['features'].grad.norm() > 0


def test_render_takes_gaussians_and_a_rig():
    scene = random_scene(rotated=True)
    viewmats, Ks = pinhole(2)
    rig = CameraRig.from_matrices(viewmats, Ks, WIDTH, HEIGHT)
    out = render(Gaussians(**scene), rig, far=8.0)
    for x, y in zip(images(out), images(run(scene, far=8.0))):
        assert torch.equal(x, y)
