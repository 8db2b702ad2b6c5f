"""Render small scenes with gsplat and keep what it says, for the tests.

python tools/make_gsplat_golden.py

Needs an NVIDIA GPU and gsplat (pip install 'occsplat[gsplat]'). Writes one
file per scene to tests/test_rendering/golden: Gaussians, camera, gsplat's
projection, image and gradients, and the versions that made them.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'projects'))

from occsplat_environment import check_environment

check_environment(('torch', 'numpy'))

import numpy as np
import torch
from torch import Tensor

FOLDER = ROOT / 'tests' / 'test_rendering' / 'golden'
WIDTH, HEIGHT = 36, 28  # neither is a multiple of 16
NEAR, FAR, EPS2D = 0.1, 1e10, 0.3
LEAVES = ('means', 'scales', 'quats', 'opacities', 'features', 'background')


def make_parser() -> argparse.ArgumentParser:
    """Where to."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, default=FOLDER)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every golden file."""
    args = make_parser().parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit('error: gsplat runs on an NVIDIA GPU, and torch finds none')
    try:
        gsplat = importlib.import_module('gsplat')
    except ImportError:
        sys.exit("error: run pip install 'occsplat[gsplat]' first")
    for name, scene in make_scenes().items():
        path = write(args.out, name, render(gsplat, scene, 'cuda'))
        print(f'{path}: {path.stat().st_size / 1024:.0f} KiB')


def make_scenes() -> dict[str, dict]:
    """Scenes by name: Gaussians, camera_model, viewmat and K.

    Channel counts are those that each release of gsplat has with a depth.
    Poses are generic, so that no two Gaussians share a depth and no pixel
    sits on one of the thresholds.
    """
    generator = torch.Generator().manual_seed(0)
    return {
        'pinhole-k1': _cloud(generator, 1),
        'pinhole-k3-background': _cloud(generator, 3, background=True),
        'pinhole-k16-rotated': _cloud(generator, 16, rotated=True),
        'pinhole-k32': _cloud(generator, 32, count=80),
        'beside-the-image': _cloud(generator, 3, rotated=True, spread=2.0),
        'ortho-k3-rotated': _cloud(
            generator, 3, rotated=True, camera_model='ortho'
        ),
        'ortho-k16-background': _cloud(
            generator, 16, camera_model='ortho', background=True
        ),
        'voxels-opaque': _voxels(generator, 'opaque'),
        'voxels-trained': _voxels(generator, 'trained'),
        'voxels-faint': _voxels(generator, 'faint'),
        'voxels-from-above': _voxels(generator, 'trained', 'ortho'),
    }


def render(
    gsplat: ModuleType, scene: dict, device: str
) -> dict[str, np.ndarray]:
    """gsplat's answer: projection, images, gradients of a fixed loss."""
    leaves = {
        name: scene[name].to(device).requires_grad_()
        for name in LEAVES
        if name in scene
    }
    background = leaves.get('background')
    image, alpha, meta = gsplat.rasterization(
        leaves['means'],
        leaves['quats'],
        leaves['scales'],
        leaves['opacities'],
        leaves['features'],
        scene['viewmat'][None].to(device),
        scene['K'][None].to(device),
        WIDTH,
        HEIGHT,
        near_plane=NEAR,
        far_plane=FAR,
        eps2d=EPS2D,
        packed=False,
        backgrounds=None if background is None else background[None],
        render_mode='RGB+D',
        camera_model=scene['camera_model'],
    )
    images = dict(
        features=image[0, ..., :-1],
        depth=image[0, ..., -1],
        alpha=alpha[0, ..., 0],
    )
    torch.autograd.backward(
        list(images.values()), [cotangent(x) for x in images.values()]
    )
    tensors = {name: x for name, x in scene.items() if name != 'camera_model'}
    tensors |= {f'image_{name}': x for name, x in images.items()}
    tensors |= {f'grad_{name}': x.grad for name, x in leaves.items()}
    tensors |= {
        f'projected_{name}': meta[name][0]
        for name in ('radii', 'means2d', 'depths', 'conics')
    }
    golden = {k: x.detach().cpu().numpy() for k, x in tensors.items()}
    gpu = torch.cuda.get_device_name() if device == 'cuda' else device
    golden |= {
        'camera_model': np.array(scene['camera_model']),
        'gsplat': np.array(gsplat.__version__),
        'torch': np.array(torch.__version__),
        'cuda': np.array(str(torch.version.cuda)),
        'gpu': np.array(gpu),
        'fast_math': np.array(os.environ.get('NO_FAST_MATH') != '1'),
    }
    return golden


def cotangent(image: Tensor) -> Tensor:
    """A fixed loss gradient without a pattern, the same on any machine."""
    index = torch.arange(image.numel(), dtype=torch.float64)
    values = torch.sin(index * 12.9898 + index**2 * 0.0378)
    return values.view(image.shape).to(image)


def write(folder: Path, name: str, golden: dict[str, np.ndarray]) -> Path:
    """Under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.npz'
    part = folder / f'{name}.part'
    with open(part, 'wb') as file:
        np.savez_compressed(file, **golden)
    os.replace(part, path)
    return path


def _cloud(
    generator: torch.Generator,
    channels: int,
    count: int = 150,
    rotated: bool = False,
    background: bool = False,
    spread: float = 1.0,
    camera_model: str = 'pinhole',
) -> dict:
    """Gaussians of all shapes in front of a camera at the origin."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    z = uniform(2, 12, count)
    side = z if camera_model == 'pinhole' else torch.full_like(z, 6.0)
    scene = dict(
        means=torch.stack(
            (
                spread * side * uniform(-0.6, 0.6, count),
                spread * side * uniform(-0.5, 0.5, count),
                z,
            ),
            dim=1,
        ),
        scales=spread * uniform(0.1, 0.6, count, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        opacities=uniform(0.05, 0.95, count),
        features=uniform(-1, 1, count, channels),
        viewmat=_tilted(),
        K=_intrinsics(camera_model),
        camera_model=camera_model,
    )
    if rotated:
        scene['quats'] = uniform(-1, 1, count, 4)
    if background:
        scene['background'] = uniform(-1, 1, channels)
    return scene


def _voxels(
    generator: torch.Generator, kind: str, camera_model: str = 'pinhole'
) -> dict:
    """A street of 0.4 m voxels, 40 x 40 x 8, that a camera looks along.

    A floor and a few walls; 'opaque' like ground truth, 'trained' with
    opacities up to 0.95 there and some floaters, 'faint' with 0.1 in every
    fourth voxel.
    """
    x, y, z = torch.meshgrid(
        torch.arange(40), torch.arange(40), torch.arange(8), indexing='ij'
    )
    walls = ((y < 12) | (y > 28)) & (x % 11 < 7) & (x > 5)
    occupied = ((z == 0) | walls).flatten()
    chance = torch.rand(occupied.shape, generator=generator)
    if kind == 'faint':
        kept = chance < 0.25
        opacities = torch.full_like(chance, 0.1)
    else:
        floaters = ~occupied & (chance < 0.04)
        # a part of them, so that the file stays small
        thinned = torch.rand(occupied.shape, generator=generator) < 0.4
        kept = (occupied & thinned) | (floaters & (kind == 'trained'))
        opacities = torch.where(occupied, 0.7 + 0.25 * chance, 0.3)
        if kind == 'opaque':
            opacities = torch.ones_like(opacities)
    index = torch.stack((x, y, z), dim=-1).view(-1, 3)[kept]
    count = len(index)
    means = (index + 0.5) * 0.4 - torch.tensor([2.0, 8.0, 1.8])
    classes = torch.randint(0, 3, (count,), generator=generator)
    # world x forward, y left, z up to a camera that looks along x, or down
    axes = [[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    if camera_model == 'ortho':
        axes = [[1.0, 0, 0, -6], [0, -1, 0, 0], [0, 0, -1, 9], [0, 0, 0, 1]]
    return dict(
        means=means,
        scales=torch.full((count, 3), 0.2),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        opacities=opacities[kept],
        features=torch.nn.functional.one_hot(classes, 3).float(),
        viewmat=_tilted() @ torch.tensor(axes),
        K=_intrinsics(camera_model),
        camera_model=camera_model,
    )


def _tilted() -> Tensor:
    """A small rotation and offset, so that depths differ."""
    a, b = 0.11, -0.07
    turn = torch.tensor(
        [[math.cos(a), 0, -math.sin(a)], [0, 1, 0],
         [math.sin(a), 0, math.cos(a)]]
    ) @ torch.tensor(
        [[1, 0, 0], [0, math.cos(b), -math.sin(b)],
         [0, math.sin(b), math.cos(b)]]
    )  # fmt: skip
    matrix = torch.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = torch.tensor([0.13, -0.21, 0.34])
    return matrix


def _intrinsics(camera_model: str) -> Tensor:
    fx, fy = (33.0, 35.0) if camera_model == 'pinhole' else (4.0, 3.6)
    return torch.tensor([[fx, 0, 17.3], [0, fy, 14.8], [0, 0, 1]])


if __name__ == '__main__':
    main()
