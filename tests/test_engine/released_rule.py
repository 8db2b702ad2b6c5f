"""Stand-ins for published checkpoints: every number follows from its name.

The published networks' own code computed the golden outputs in
``tests/data/released`` from these weights and inputs, so that no trained
number is needed, and none is here.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

from occsplat.structures import CameraRig

FOLDER = Path(__file__).parents[1] / 'data' / 'released'
# 27 camera numbers: fx fy cx cy | resize 00 01, shift x | 10 11, shift y |
# volume augmentation 00 01 10 11 22 | camera to ego, 3 x 4, row by row
CAMERA = dict(
    running_mean=[
        *(1266, 1266, 816, 491, 0.44, 0, 0, 0, 0.44, -140, 1, 0, 0, 1, 1),
        *[0.0] * 12,
    ],
    running_var=[
        *(400, 400, 900, 100, 4e-2, 1e-3, 4, 1e-3, 4e-2, 9),
        *[0.5] * 5,
        *[0.4] * 12,
    ],
)


def array(name, *shape):
    """Standard normal numbers, float32, drawn from the name alone."""
    bits = np.random.PCG64(zlib.crc32(name.encode()))
    drawn = np.random.Generator(bits).standard_normal(shape, np.float32)
    return torch.from_numpy(drawn)


def window_index(side):
    """Of a shifted-window attention: int64 (side ** 2, side ** 2)."""
    y, x = np.divmod(np.arange(side * side), side)
    dy, dx = (a[:, None] - a[None] + side - 1 for a in (y, x))
    return torch.from_numpy(dy * (2 * side - 1) + dx)


def weight(name, shape):
    """The tensor of this name in a published detector's state dict."""
    last, drawn = name.split('.')[-1], array(name, *shape)
    if last == 'num_batches_tracked':
        return torch.zeros(shape, dtype=torch.int64)
    if last == 'relative_position_index':
        return window_index(round(shape[0] ** 0.5))
    if name.startswith('forward_projection.'):
        grid = dict(dx=[0.8] * 3, bx=[-39.6, -39.6, -0.6], nx=[100, 100, 8])
        return torch.tensor(grid[last], dtype=torch.float32)
    if name.endswith(f'depth_net.bn.{last}') and last in CAMERA:
        return torch.tensor(CAMERA[last], dtype=torch.float32)
    if last == 'running_var':
        return 0.5 + drawn.abs()
    if last == 'weight' and len(shape) > 1:
        return drawn * float(np.prod(shape[1:])) ** -0.5
    return 1 + 0.1 * drawn if last == 'weight' else 0.1 * drawn


def checkpoint(network):
    """The state dict of a published network, by the rule."""
    text = (FOLDER / f'{network}_shapes.json').read_text()
    shapes = json.loads(text)['shapes']
    return {name: weight(name, shape) for name, shape in shapes.items()}


def golden(network):
    """What the published code computed, tensors by name."""
    with np.load(FOLDER / f'{network}.npz', allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def assert_near(found, expected, tolerance=1e-5):
    """Relative to the largest value."""
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert float(error) <= tolerance


def rig_of(ref2cam, golden, width, height):
    """Cameras (..., N) with the golden file's intrinsics and augmentation.

    Of N cameras, in each of the frames that there may be.
    """
    shape = ref2cam.shape[:-2]
    img_aug = torch.eye(3).repeat(*shape, 1, 1)
    img_aug[..., :2, :2] = golden['camera_post_rots'][..., :2, :2]
    img_aug[..., :2, 2] = golden['camera_post_trans'][..., :2]
    K = golden['camera_intrins'].expand(*shape, 3, 3)
    return CameraRig(ref2cam.float(), K, img_aug, width, height)


def rigs_of(golden):
    """Two cameras, 128 x 352, now and one frame ago, (1, 2) each."""
    ref2cam = golden['camera_sensor2keyego'].double().inverse()
    now2previous = golden['camera_now2previous'].double()
    return [
        rig_of(matrices, golden, 352, 128)
        for matrices in (ref2cam, now2previous @ ref2cam)
    ]


def three_frames(name, golden):
    """Images (1, 3, 6, 3, 256, 704), RGB, and their cameras.

    As BEVDet's family takes them: now, and two key frames before.
    """
    images = array(name, 1, 18, 3, 256, 704)
    # camera by camera to frame by frame; blue, green, red to red first
    images = images.view(1, 6, 3, 3, 256, 704).transpose(1, 2).flip(3)
    poses = golden['whole_ego2globals'].double()
    # the car when CAM_FRONT_LEFT fired
    cam2ref = poses[0, 0, 0].inverse() @ poses
    cam2ref = cam2ref @ golden['whole_sensor2egos'].double()
    numbers = {
        name.removeprefix('whole_'): value for name, value in golden.items()
    }
    return images, rig_of(cam2ref.inverse(), numbers, 704, 256)


def check_volume(model, images, rig, golden):
    """From pixels to the 3D neck's volumes, which are returned."""
    features = model.image_encoder(images)
    _, logits = model.lifter.look(features, rig, 0)
    depth = logits.softmax(dim=2)[:, :2, ::8, ::2, ::4]
    assert_near(depth, golden['whole_depth'], 1e-3)
    volume, _ = model.lifter(features, rig)
    fused = model.volume_encoder(volume)
    found = fused[0].transpose(2, 4)[:, ::8, ::4, ::10, ::10]
    assert_near(found, golden['whole_neck'], 1e-3)
    return fused
