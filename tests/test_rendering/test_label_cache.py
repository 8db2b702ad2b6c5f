"""Rendered ground truth on disk."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import occsplat.data  # noqa: F401  registers label sets
from occsplat.data.transforms.volume_aug import aug_matrix, fold
from occsplat.rendering import LabelCache, RenderOutput, render_labels
from occsplat.structures import (
    CameraRig,
    Cameras,
    Gaussians,
    LabelSpec,
    VoxelGrid,
)

GRID = VoxelGrid(range=(-8, -8, -1, 8, 8, 3), shape=(16, 16, 4))
SPEC = LabelSpec.named('openocc')
SETTINGS = dict(labels='openocc', scale=0.4, near=0.1, far=100.0)
SIZE = dict(width=60, height=40)


def make_labels(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 17, GRID.shape, generator=generator)


def make_cameras(count, shift=0.0):
    viewmats = torch.eye(4).repeat(count, 1, 1)
    viewmats[:, 0, 3] = torch.arange(count) + shift
    Ks = torch.tensor([[30.0, 0, 30], [0, 30, 20], [0, 0, 1]])
    return Cameras(viewmats, Ks.repeat(count, 1, 1), **SIZE)


def make_images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, SIZE['height'], SIZE['width'])
    alpha = torch.rand(shape, generator=generator)
    features = torch.zeros(*shape, 17)
    features[..., 3], features[..., 16] = 0.25 * alpha, 0.75 * alpha
    depth = 50 * torch.rand(shape, generator=generator)
    return RenderOutput(features, depth, alpha)


def pick(images, index):
    return RenderOutput(
        images.features[index], images.depth[index], images.alpha[index]
    )


def equal(one, other):
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ('features', 'depth', 'alpha')
    )


def never(some):
    raise AssertionError(f'{len(some)} of them are in the cache')


def test_only_what_is_missing_is_rendered(tmp_path):
    cache = LabelCache(tmp_path / 'cache', SETTINGS)
    labels, cameras, images = make_labels(), make_cameras(3), make_images(3)
    asked = []

    def render(some):
        index = some.viewmats[:, 0, 3].long().tolist()
        asked.append(index)
        return pick(images, index)

    first = cache.fetch(labels, cameras.chosen([0, 1]), render)
    again = cache.fetch(labels, cameras.chosen([1, 0]), never)
    mixed = cache.fetch(labels, cameras, render)
    assert asked == [[0, 1], [2]]
    # the very numbers that were rendered
    assert equal(first, pick(images, [0, 1]))
    assert equal(again, pick(images, [1, 0]))
    assert equal(mixed, images)


def test_another_process_finds_the_images(tmp_path):
    labels, cameras, images = make_labels(), make_cameras(1), make_images(1)
    LabelCache(tmp_path, SETTINGS).fetch(labels, cameras, lambda _: images)
    found = LabelCache(tmp_path, dict(reversed(SETTINGS.items()))).fetch(
        # as a data loader may hand them over
        labels.to(torch.uint8),
        cameras,
        never,
    )
    assert equal(found, images)


def masked(labels, cameras):
    mask = torch.rand(labels.shape) < 0.3
    return labels.masked_fill(mask, SPEC.ignore), cameras


def rotated(labels, cameras):
    turn = torch.from_numpy(aug_matrix(7.0, 1.0, False, False)).float()
    return labels.rot90(), replace(
        cameras, viewmats=cameras.viewmats @ turn.inverse()
    )


def scaled(labels, cameras):
    size = torch.diag(torch.tensor([1.05, 1.05, 1.05, 1.0]))
    return labels, replace(cameras, viewmats=cameras.viewmats @ size)


def cleaned(labels, cameras):
    labels = labels.clone()
    labels[3, 3, 3] = SPEC.free if labels[3, 3, 3] != SPEC.free else 0
    return labels, cameras


def zoomed(labels, cameras):
    Ks = cameras.Ks.clone()
    Ks[:, 0, 0] *= 1.01
    return labels, replace(cameras, Ks=Ks)


def as_plane(labels, cameras):
    return labels, replace(cameras, camera_model='ortho')


@pytest.mark.parametrize(
    'change', [masked, rotated, scaled, cleaned, zoomed, as_plane]
)
def test_what_is_changed_is_never_the_old_picture(tmp_path, change):
    # keyed by sample and camera alone, it was: a near-perfect prediction
    # had ten times the loss
    torch.manual_seed(0)
    cache = LabelCache(tmp_path, SETTINGS)
    labels, cameras = make_labels(), make_cameras(2)
    cache.fetch(labels, cameras, lambda _: make_images(2, 0))
    labels, cameras = change(labels, cameras)
    new = make_images(2, 1)
    found = cache.fetch(labels, cameras, lambda _: new)
    assert equal(found, new)


def test_other_settings_need_another_folder(tmp_path):
    LabelCache(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r'settings.json.*0\.4.*0\.5'):
        LabelCache(tmp_path, SETTINGS | dict(scale=0.5))


def resave(change):
    """Damage that changes the arrays of a file."""

    def damage(path):
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
        np.savez(path, **change(arrays))

    return damage


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda path: path.write_bytes(b'nothing'), 'damaged'),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), 'damaged'),
        (lambda path: np.savez(path, depth=np.zeros(3)), 'damaged'),
        (
            resave(lambda x: x | dict(depth=x['depth'].astype(np.float64))),
            'depth: expected float32.*got float64',
        ),
        (
            resave(lambda x: x | dict(alpha=x['alpha'][:4])),
            r'alpha: expected float32 \(40, 60\), got float32 \(4, 60\)',
        ),
        (resave(lambda x: x | dict(shown=x['shown'] + 1)), 'damaged'),
    ],
)
def test_damaged_files_are_named(tmp_path, damage, message):
    cache = LabelCache(tmp_path, SETTINGS)
    inputs = make_labels(), make_cameras(1)
    cache.fetch(inputs[0], inputs[1], lambda _: make_images(1))
    (path,) = tmp_path.glob('*/*.npz')
    damage(path)
    with pytest.raises(ValueError, match=f'{path.name}.*{message}.*delete'):
        cache.fetch(inputs[0], inputs[1], never)


def test_renders_of_another_shape_are_refused(tmp_path):
    cache = LabelCache(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r'\(1, 40, 60\), got .*\(2, 40'):
        cache.fetch(make_labels(), make_cameras(1), lambda _: make_images(2))
    assert not list(tmp_path.glob('*/*.npz'))


def label_images(results):
    """What a render loss would make of a packed sample."""
    occ = torch.from_numpy(results['gt_occ']).long().flatten()
    there = (occ != SPEC.free) & (occ != SPEC.ignore)
    means = GRID.centers().view(-1, 3)[there]
    count = len(means)
    gaussians = Gaussians(
        means, torch.full((count, 3), 0.4), torch.ones(count),
        torch.empty(count, 0),
    )  # fmt: skip
    rig = results['render_rig']
    return render_labels(gaussians, occ[there], 16, rig, near=3.0)


@pytest.mark.parametrize(
    'ref_aug',
    [
        aug_matrix(angle, 1.0, *mirrored)
        for angle in (0, 90)
        for mirrored in itertools.product((False, True), repeat=2)
    ],
)
def test_the_volume_augmentation_does_not_show(ref_aug):
    """Turned together, labels and cameras give the same image."""
    rng = np.random.default_rng(0)
    occ = rng.integers(0, 16, GRID.shape)
    occ[rng.random(GRID.shape) < 0.8] = SPEC.free
    # a camera in the middle that looks along x, turned a little
    turn = aug_matrix(17.0, 1.0, False, False)
    axes = np.array(
        [[0.0, -1, 0, 0], [0, 0, -1, 0.6], [1, 0, 0, 0], [0, 0, 0, 1]]
    )
    rig = CameraRig.from_matrices(
        torch.from_numpy(axes @ turn)[None],
        torch.tensor([[30.0, 0, 30], [0, 30, 20], [0, 0, 1]])[None].double(),
        **SIZE,
    )
    results = dict(
        render_rig=rig,
        ref2global=np.eye(4),
        gt_occ=occ,
        label_grid=GRID,
        label_spec=SPEC,
    )
    expected = label_images(fold(results))
    actual = label_images(fold(results | dict(ref_aug=ref_aug)))
    classes = [out.class_image(16) for out in (expected, actual)]
    assert len(classes[0].unique()) > 8
    # two classes that weigh the same, to the last bits
    assert int((classes[0] != classes[1]).sum()) <= 2
    torch.testing.assert_close(actual.depth, expected.depth, rtol=0, atol=1e-3)
