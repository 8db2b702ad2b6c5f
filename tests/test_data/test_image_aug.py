"""ImageAug: the image content stays where the cameras say it is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from occsplat.data.transforms import ImageAug
from occsplat.structures import CameraRig

WIDTH, HEIGHT = 320, 180


def camera(K, count=1):
    """Cameras in the origin of the reference frame; T = 1."""
    eye = torch.eye(4, dtype=torch.float64).expand(1, count, 4, 4)
    K = torch.tensor(K, dtype=torch.float64).expand(1, count, 3, 3)
    return CameraRig.from_matrices(eye, K, WIDTH, HEIGHT)


def spot(u, v):
    """A bright Gaussian blob around continuous pixel (u, v)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    blob = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 4.0**2))
    return np.repeat((255 * blob).astype(np.uint8)[..., None], 3, axis=2)


def centroid(image):
    """Where the light is, in continuous pixels."""
    light = image[..., 0].astype(np.float64)
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    return np.array(
        [(columns * light).sum(), (rows * light).sum()] / light.sum()
    )


AUGMENTATIONS = [
    [dict(size=(256, 96))],
    [dict(size=(320, 180))],
    [dict(size=(480, 240))],
    [dict(size=(256, 120), resize=(-0.06, 0.11), rotate=5.4, flip=True)],
    [dict(size=(256, 120), resize=(0.1, 0.2), rotate=30.0, flip=True)],
    [
        dict(size=(280, 150), resize=(0.0, 0.1), rotate=10.0, flip=True),
        dict(size=(200, 100), resize=(0.0, 0.1), rotate=10.0, flip=True),
    ],
]


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('steps', AUGMENTATIONS)
def test_content_and_projection_move_alike(steps, seed):
    np.random.seed(seed)
    K = [[200.0, 0, 165.0], [0, 190.0, 95.0], [0, 0, 1]]
    point = torch.tensor([[0.6, 1.1, 8.0]], dtype=torch.float64)
    rig = camera(K)
    uv, _ = rig.project(point[None])
    results = dict(imgs=[[spot(*uv[0, 0, 0].tolist())]], rig=rig)
    for step in steps:
        results = ImageAug(**step)(results)
    rig, image = results['rig'], results['imgs'][0][0]
    assert image.shape[1::-1] == (rig.width, rig.height) == steps[-1]['size']
    uv, depth = rig.project(point[None])
    expected = uv[0, 0, 0].numpy()
    margin = 15
    inside = (expected > margin) & (expected < np.array(rig.width) - margin)
    assert inside.all(), 'the test needs the blob inside the image'
    # a half-pixel slip anywhere would show as 0.1 to 0.5 pixels
    np.testing.assert_allclose(centroid(image), expected, atol=0.05)
    assert depth.item() == 8


def test_test_mode_is_exact():
    """704 wide of 1600, bottom crop: as published pipelines evaluate."""
    rig = camera(np.eye(3))
    image = np.zeros((900, 1600, 3), np.uint8)
    results = dict(imgs=[[image]], rig=rig)
    rig = ImageAug(size=(704, 256))(results)['rig']
    expected = [[0.44, 0, 0], [0, 0.44, -140], [0, 0, 1]]
    np.testing.assert_allclose(rig.img_aug[0, 0], expected, atol=1e-12)


def test_sizes_that_do_not_divide_stay_exact():
    """333 pixels at a factor of 256/333 give 139.15 rows, really 139."""
    results = dict(
        imgs=[[np.zeros((181, 333, 3), np.uint8)]], rig=camera(np.eye(3))
    )
    rig = ImageAug(size=(256, 139))(results)['rig']
    assert rig.img_aug[0, 0, 1, 1] == 139 / 181


def test_flip_is_exact(monkeypatch):
    monkeypatch.setattr(np.random, 'rand', lambda: 0.0)
    image = np.random.default_rng(0).integers(
        0, 255, (HEIGHT, WIDTH, 3), np.uint8
    )
    results = dict(imgs=[[image]], rig=camera(np.eye(3)))
    results = ImageAug(size=(WIDTH, HEIGHT), flip=True)(results)
    np.testing.assert_array_equal(results['imgs'][0][0], image[:, ::-1])
    assert results['rig'].img_aug[0, 0].tolist() == [
        [-1, 0, WIDTH],
        [0, 1, 0],
        [0, 0, 1],
    ]


def test_strong_reduction_averages():
    """A pattern of one-pixel stripes turns grey, not black or white."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, ::2] = 200
    results = dict(imgs=[[image]], rig=camera(np.eye(3)))
    out = ImageAug(size=(80, 45))(results)['imgs'][0][0]
    assert (np.abs(out.astype(int) - 100) <= 1).all()


def test_cameras_differ_and_frames_agree():
    np.random.seed(0)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rig = camera(np.eye(3), 3)
    rig = CameraRig(
        *(
            torch.cat([value, value])
            for value in (rig.ref2cam, rig.K, rig.img_aug)
        ),
        WIDTH,
        HEIGHT,
    )
    results = dict(imgs=[[image] * 3, [image] * 3], rig=rig)
    aug = ImageAug((256, 96), resize=(0, 0.2), rotate=5, flip=True)
    rig = aug(results)['rig']
    torch.testing.assert_close(rig.img_aug[0], rig.img_aug[1])
    assert not torch.equal(rig.img_aug[0, 0], rig.img_aug[0, 1])


def test_padding_is_black_and_at_the_right():
    """Shrunk below the network's width: black on the right and on top."""
    results = dict(
        imgs=[[np.full((HEIGHT, WIDTH, 3), 255, np.uint8)]],
        rig=camera(np.eye(3)),
    )
    aug = ImageAug((WIDTH, HEIGHT), resize=(-0.5, -0.5))
    out = aug(results)['imgs'][0][0]
    assert (out[91:, :159] == 255).all()
    assert (out[:89] == 0).all() and (out[:, 161:] == 0).all()


def test_order_of_the_pipeline():
    with pytest.raises(ValueError, match='LoadMultiViewImages before'):
        ImageAug((4, 4))({})
    results = dict(imgs=[], rig=SimpleNamespace(), gt_depth=0)
    with pytest.raises(ValueError, match='LidarDepth or LidarSemantics after'):
        ImageAug((4, 4))(results)


def test_pillow_resamples_by_its_own_filter():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (45, 80, 3), np.uint8)
    results = dict(imgs=[[image]], rig=camera(np.eye(3)))
    results['rig'].width, results['rig'].height = 80, 45
    out = ImageAug((40, 16), resampling='pillow').transform(results)
    # 40 x 22, and the lower 16 rows of it
    expected = Image.fromarray(image).resize((40, 22), Image.BICUBIC)
    np.testing.assert_array_equal(out['imgs'][0][0], np.array(expected)[6:])
