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

from occsplat.rendering import (
    numba_arrays,
    numba_backend,
    rasterize,
    rasterize_labels,
    rasterize_pair,
    render,
    render_labels,
    render_pair,
)
from occsplat.structures import CameraRig, Gaussians

BACKENDS = pytest.mark.parametrize('backend', ['torch', 'numba'])


def images(out):
    return out.features, out.depth, out.alpha


def assert_same(x, y, backend):
    """To the last bit; torch sums up in any order."""
    if backend == 'numba':
        assert torch.equal(x, y)
    else:
        assert float((x - y).norm()) <= 1e-5 * float(y.norm())


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


def bits(scene, cameras, **options):
    """All images and gradients of a loss on the numba backend."""
    leaves = differentiable(scene)
    out = run(leaves, cameras, backend='numba', **options)
    sum((x**2).sum() for x in images(out)).backward()
    return [*images(out), out.first_hit, *(x.grad for x in leaves.values())]


def test_thread_count_changes_no_bit(monkeypatch):
    scene = random_scene(300, rotated=True)
    monkeypatch.setattr(numba_arrays, 'MANY', 10)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(bits(scene, pinhole(3)))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for x, y in zip(results[0], other):
            assert torch.equal(x, y)


@pytest.mark.parametrize('tile', [8, 32, 128])
def test_tile_size_changes_no_bit(tile, monkeypatch):
    scene = random_scene(300, rotated=True)
    assert numba_backend.TILE == 16
    expected = bits(scene, pinhole(2))
    monkeypatch.setattr(numba_backend, 'TILE', tile)
    for x, y in zip(bits(scene, pinhole(2)), expected):
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
@pytest.mark.parametrize('camera_model', ['pinhole', 'ortho'])
def test_rotating_a_ball_changes_nothing(backend, camera_model):
    """Isotropic Gaussians have a projection of their own (numba)."""
    scene = random_scene(rotated=True)
    scene['scales'] = scene['scales'][:, :1].expand(-1, 3)
    cameras = ortho() if camera_model == 'ortho' else pinhole(2)
    options = dict(camera_model=camera_model, backend=backend)
    turned = run(scene, cameras, **options)
    del scene['quats']
    plain = run(scene, cameras, **options)
    # next to a ball, not one: the general formula
    scene['scales'] = scene['scales'] * torch.tensor([1, 1, 1 + 1e-6])
    general = run(scene, cameras, **options)
    for x, y, z in zip(images(turned), images(plain), images(general)):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-4)
        torch.testing.assert_close(z, y, rtol=0, atol=1e-4)


@BACKENDS
def test_faint_gaussians_can_be_left_out(backend):
    """Below 1/255 they change neither the image nor any gradient."""
    scene = random_scene(100)
    scene['opacities'][::3] = 0.0039
    kept = scene['opacities'] > 1 / 255
    leaves = differentiable(scene)
    out = run(leaves, backend=backend)
    few = differentiable({k: v[kept] for k, v in scene.items()})
    expected = run(few, backend=backend)
    for x, y in zip(images(out), images(expected)):
        assert_same(x, y, backend)
    for result in (out, expected):
        sum((x**2).sum() for x in images(result)).backward()
    for name, leaf in leaves.items():
        assert_same(leaf.grad[kept], few[name].grad, backend)
        assert float(leaf.grad[~kept].abs().max()) == 0


@BACKENDS
def test_features_scale_the_image(backend):
    scene = random_scene()
    expected = run(scene, backend=backend).features * 4
    scene['features'] = scene['features'] * 4
    assert torch.equal(run(scene, backend=backend).features, expected)


@BACKENDS
def test_scenes_are_a_loop(backend):
    """Leading dimensions: the same images as one by one, stacked."""
    scenes = [random_scene(40, seed=seed, rotated=True) for seed in range(4)]
    cameras = [pinhole(2, focal=40.0 + seed) for seed in range(4)]
    expected = [
        run(scene, camera, backend=backend)
        for scene, camera in zip(scenes, cameras)
    ]
    batch = {
        name: torch.stack([scene[name] for scene in scenes]).unflatten(
            0, (2, 2)
        )
        for name in scenes[0]
    }
    viewmats, Ks = (
        torch.stack(matrices).unflatten(0, (2, 2))
        for matrices in zip(*cameras)
    )
    out = run(batch, (viewmats, Ks), backend=backend)
    assert out.features.shape == (2, 2, 2, HEIGHT, WIDTH, 5)
    for n, single in enumerate(expected):
        for x, y in zip(images(out), images(single)):
            assert torch.equal(x.flatten(0, 1)[n], y)
        assert torch.equal(out.first_hit.flatten(0, 1)[n], single.first_hit)


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
def test_labels_come_in_front_of_other_features(backend):
    scene = random_scene()
    labels = torch.arange(60) % 3
    one_hot = torch.nn.functional.one_hot(labels, 3).float()
    features = torch.cat((one_hot, scene['features']), dim=1)
    viewmats, Ks = pinhole(2)
    actual = rasterize_labels(
        **scene,
        labels=labels,
        num_classes=3,
        viewmats=viewmats,
        Ks=Ks,
        width=WIDTH,
        height=HEIGHT,
        backend=backend,
    )
    expected = run(dict(scene, features=features), backend=backend)
    for x, y in zip(images(actual), images(expected)):
        assert torch.equal(x, y)


@BACKENDS
@pytest.mark.parametrize('camera_model', ['pinhole', 'ortho'])
def test_a_pair_is_its_two_halves(backend, camera_model):
    """Sharing the projection changes no bit of images and gradients."""
    scene = random_scene(150, rotated=True)
    scene['opacities'][::4] = 0.001  # in the ground truth alone
    labels = torch.arange(150) % 7 - 2  # two of seven have none
    flow = torch.randn(150, 2)
    viewmats, Ks = ortho() if camera_model == 'ortho' else pinhole(2)
    camera = dict(
        viewmats=viewmats, Ks=Ks, width=WIDTH, height=HEIGHT,
        camera_model=camera_model, backend=backend,
    )  # fmt: skip
    together, alone = differentiable(scene), differentiable(scene)
    prediction, truth = rasterize_pair(
        **together,
        labels=labels,
        num_classes=5,
        label_features=flow,
        **camera,
    )
    there = labels >= 0
    half = rasterize(**alone, **camera)
    other_half = rasterize_labels(
        scene['means'][there],
        scene['scales'][there],
        torch.ones(int(there.sum())),
        labels[there],
        5,
        features=flow[there],
        quats=scene['quats'][there],
        **camera,
    )
    assert float(other_half.alpha.max()) > 0.99
    for x, y in zip(images(prediction), images(half)):
        assert_same(x, y, backend)
    for x, y in zip(images(truth), images(other_half)):
        assert_same(x, y, backend)
        assert not x.requires_grad
    for out in (prediction, half):
        sum((x**2).sum() for x in images(out)).backward()
    for name in together:
        assert_same(together[name].grad, alone[name].grad, backend)


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


def test_render_labels_and_pairs_take_them_too():
    scene = random_scene()
    viewmats, Ks = pinhole(2)
    rig = CameraRig.from_matrices(viewmats, Ks, WIDTH, HEIGHT)
    labels = torch.arange(60) % 4 - 1
    gaussians = Gaussians(**scene)
    prediction, truth = render_pair(gaussians, labels, 3, rig, near=2.5)
    for x, y in zip(images(prediction), images(run(scene, near=2.5))):
        assert torch.equal(x, y)
    there = labels >= 0
    opaque = Gaussians(
        scene['means'][there],
        scene['scales'][there],
        torch.ones(int(there.sum())),
        torch.empty(int(there.sum()), 0),
    )
    expected = render_labels(opaque, labels[there], 3, rig, near=2.5)
    for x, y in zip(images(truth), images(expected)):
        assert torch.equal(x, y)
