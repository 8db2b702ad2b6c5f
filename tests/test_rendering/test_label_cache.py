"""Rendered ground truth on disk."""

import itertools

import numpy as np
import pytest
import torch

from occsplat.data.transforms.volume_aug import aug_matrix, fold
from occsplat.rendering import LabelCache, LabelImages, render_labels
from occsplat.structures import CameraRig, Gaussians, LabelSpec, VoxelGrid

GRID = VoxelGrid(range=(-8, -8, -1, 8, 8, 3), shape=(16, 16, 4))
SETTINGS = dict(labels='openocc', scale=0.4, near=0.1, far=100.0)
SIZE = dict(width=60, height=40)


def make_images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, SIZE['height'], SIZE['width'])
    classes = torch.randint(0, 17, shape, generator=generator)
    depth = 50 * torch.rand(shape, generator=generator)
    return LabelImages(classes.to(torch.uint8), depth)


def never(missing):
    raise AssertionError(f'{missing} are in the cache')


def test_only_what_is_missing_is_rendered(tmp_path):
    cache = LabelCache(tmp_path / 'cache', SETTINGS)
    images = make_images(3)
    asked = []

    def render(missing):
        asked.append(missing)
        return LabelImages(*(x[missing] for x in images))

    first = cache.fetch('token', ['a', 'b'], **SIZE, render=render)
    again = cache.fetch('token', ['b', 'a'], **SIZE, render=never)
    mixed = cache.fetch('token', ['a', 'b', 'c'], **SIZE, render=render)
    cache.fetch('other', ['a'], **SIZE, render=render)
    assert asked == [[0, 1], [2], [0]]
    for x, y, z in zip(first, again, mixed):
        assert torch.equal(x, y[[1, 0]])
        assert torch.equal(x, z[:2])
    assert torch.equal(mixed.classes, images.classes)
    assert mixed.depth.dtype == torch.float16
    torch.testing.assert_close(mixed.depth.float(), images.depth, rtol=1e-3,
                               atol=0)  # fmt: skip
    files = sorted(p.name for p in (tmp_path / 'cache' / 'token').iterdir())
    assert files == [f'{name}_60x40.npz' for name in 'abc']


def test_another_process_finds_the_images(tmp_path):
    images = make_images(1)
    LabelCache(tmp_path, SETTINGS).fetch(
        't', ['a'], **SIZE, render=lambda _: images
    )
    found = LabelCache(tmp_path, dict(reversed(SETTINGS.items()))).fetch(
        't', ['a'], **SIZE, render=never
    )
    assert torch.equal(found.classes, images.classes)


def test_other_settings_need_another_folder(tmp_path):
    LabelCache(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r'settings.json.*0\.4.*0\.5'):
        LabelCache(tmp_path, SETTINGS | dict(scale=0.5))


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda path: path.write_bytes(b'nothing'), 'damaged'),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), 'damaged'),
        (lambda path: np.savez(path, classes=np.zeros(3)), 'damaged'),
        (
            lambda path: np.savez(
                path,
                classes=np.zeros((40, 60)),
                depth=np.zeros((40, 60), np.float16),
            ),
            'expected uint8.*got float64',
        ),
        (
            lambda path: np.savez(
                path,
                classes=np.zeros((4, 6), np.uint8),
                depth=np.zeros((4, 6), np.float16),
            ),
            r'expected uint8 \(40, 60\), got uint8 \(4, 6\)',
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, damage, message):
    cache = LabelCache(tmp_path, SETTINGS)
    cache.fetch('t', ['a'], **SIZE, render=lambda _: make_images(1))
    damage(tmp_path / 't' / 'a_60x40.npz')
    with pytest.raises(ValueError, match=f'a_60x40.npz.*{message}.*delete'):
        cache.fetch('t', ['a'], **SIZE, render=never)


def test_renders_of_another_shape_are_refused(tmp_path):
    cache = LabelCache(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r'\(1, 40, 60\), got .*\(2, 40'):
        cache.fetch('t', ['a'], **SIZE, render=lambda _: make_images(2))
    assert not (tmp_path / 't').exists()


def label_images(results):
    """What a render loss would make of a packed sample."""
    occ = torch.from_numpy(results['gt_occ']).long().flatten()
    spec = LabelSpec.named('openocc')
    there = (occ != spec.free) & (occ != spec.ignore)
    means = GRID.centers().view(-1, 3)[there]
    count = len(means)
    gaussians = Gaussians(
        means, torch.full((count, 3), 0.4), torch.ones(count),
        torch.empty(count, 0),
    )  # fmt: skip
    rig = results['render_rig']
    out = render_labels(gaussians, occ[there], 16, rig, near=3.0)
    return LabelImages(out.class_image(16), out.depth)


@pytest.mark.parametrize(
    'ref_aug',
    [
        aug_matrix(angle, 1.0, *mirrored)
        for angle in (0, 90)
        for mirrored in itertools.product((False, True), repeat=2)
    ],
)
def test_the_volume_augmentation_does_not_show(ref_aug):
    """One cached image serves every augmentation."""
    rng = np.random.default_rng(0)
    occ = rng.integers(0, 16, GRID.shape)
    occ[rng.random(GRID.shape) < 0.8] = LabelSpec.named('openocc').free
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
        label_spec=LabelSpec.named('openocc'),
    )
    expected = label_images(fold(results))
    actual = label_images(fold(results | dict(ref_aug=ref_aug)))
    assert len(expected.classes.unique()) > 8
    different = actual.classes != expected.classes
    # two classes that weigh the same, to the last bits
    assert int(different.sum()) <= 2
    torch.testing.assert_close(actual.depth, expected.depth, rtol=0, atol=1e-3)
