"""Time and memory of the renderer: scenes, measurements, tables."""

from __future__ import annotations

import math
import tempfile
from typing import Callable, Iterator

import torch
from torch import Tensor

from occsplat.rendering import (
    LabelCache,
    RenderOutput,
    rasterize,
    rasterize_labels,
    rasterize_pair,
    rasterize_pixels,
)
from occsplat.structures import Cameras, LabelSpec, transform_points

from .rows import SEED, Row, Step

#: classes and flow, the channels of VoxelSplat
NUM_CLASSES, NUM_FLOW = 16, 2
VOXEL_SCALE = 0.2  # metres


# --- scenes ---------------------------------------------------------------


def frustum(
    count: int, channels: int, opacity: str, width: int, height: int
) -> tuple[dict[str, Tensor], dict]:
    """Isotropic Gaussians of 0.2 m, uniform in a camera's view, 5 to 50 m."""
    focal = 557.0 * width / 704
    z = (torch.rand(count) * (50.0**3 - 5**3) + 5**3) ** (1 / 3)
    x = (torch.rand(count) - 0.5) * width / focal * z
    y = (torch.rand(count) - 0.5) * height / focal * z
    opacities = torch.rand(count)
    if opacity != 'U(0, 1)':
        opacities = torch.full((count,), float(opacity))
    gaussians = dict(
        means=torch.stack((x, y, z), dim=1),
        scales=torch.full((count, 3), 0.2),
        opacities=opacities,
        features=torch.randn(count, channels),
    )
    K = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
    camera = dict(
        viewmats=torch.eye(4)[None],
        Ks=torch.tensor([K]),
        width=width,
        height=height,
    )
    return gaussians, camera


def town_volume(opacity: str) -> tuple[dict[str, Tensor], Tensor]:
    """All 640 000 voxels of a MiniTown frame, and their labels or -1.

    'trained': 0.7 to 0.99 where occupied, 0.05 to 0.5 in 4 % of the free
    voxels, nothing elsewhere. A number: that opacity everywhere.
    """
    from occsplat.minitown import build_world, voxelise
    from occsplat.minitown.classes import EMPTY, occupancy_ids

    spec = LabelSpec.named('openocc')
    category, _ = voxelise(build_world(0, SEED), 0.0)
    occupied = torch.from_numpy(category != EMPTY).flatten()
    ids = torch.from_numpy(occupancy_ids(spec)[category]).long().flatten()
    means = spec.grid.centers().view(-1, 3)
    count = len(means)
    if opacity == 'trained':
        floaters = (torch.rand(count) < 0.04) * (
            0.05 + 0.45 * torch.rand(count)
        )
        opacities = torch.where(
            occupied, 0.7 + 0.29 * torch.rand(count), floaters
        )
    else:
        opacities = torch.full((count,), float(opacity))
    gaussians = dict(
        means=means,
        scales=torch.full((count, 3), VOXEL_SCALE),
        opacities=opacities,
        features=torch.randn(count, NUM_CLASSES + NUM_FLOW),
    )
    return gaussians, torch.where(occupied, ids, -1)


def coarse_volume() -> dict[str, Tensor]:
    """The trained volume with voxels of 0.8 m: 80 000 Gaussians."""
    gaussians, _ = town_volume('trained')
    every_other = torch.arange(640_000).view(200, 200, 16)[::2, ::2, ::2]
    gaussians = {k: x[every_other.flatten()] for k, x in gaussians.items()}
    return gaussians | dict(scales=2 * gaussians['scales'])


def town_rig(image: Tensor, width: int, height: int) -> dict:
    """Six cameras; image (3, 3) maps 1600x900 pixels to those wanted."""
    from occsplat.minitown import camera_rig

    rig = camera_rig(0, (1600, 900), SEED)
    viewmats = torch.stack(
        [torch.from_numpy(camera.cam2ego).inverse() for camera in rig]
    )
    Ks = torch.stack(
        [image @ torch.from_numpy(camera.intrinsic).float() for camera in rig]
    )
    return dict(viewmats=viewmats.float(), Ks=Ks, width=width, height=height)


def town_cameras() -> list[dict]:
    """Six cameras of 176x64 pixels, and a view from above of 200x200."""
    # 0.44 times the image without its upper 140 pixels, then a quarter
    crop = torch.tensor([[0.11, 0, 0], [0, 0.11, -35], [0, 0, 1.0]])
    above = torch.tensor(
        [[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 10], [0, 0, 0, 1]]
    )
    K = torch.tensor([[2.5, 0, 100], [0, 2.5, 100], [0, 0, 1]])
    return [
        town_rig(crop, 176, 64),
        dict(
            viewmats=above[None],
            Ks=K[None],
            width=200,
            height=200,
            camera_model='ortho',
        ),
    ]


def scanned_pixels(cameras: dict, count: int) -> Tensor:
    """Pixels of a LiDAR's returns, camera, row and column (N * count, 3).

    32 beams from -30 to 10 degrees, 1080 directions, everything 20 m away.
    """
    elevation = torch.linspace(-30, 10, 32)[:, None] * math.pi / 180
    azimuth = torch.arange(1080) * 2 * math.pi / 1080
    directions = torch.stack(
        (
            elevation.cos() * azimuth.cos(),
            elevation.cos() * azimuth.sin(),
            elevation.sin().expand(32, 1080),
        ),
        dim=-1,
    )
    points = 20 * directions.view(-1, 3) + torch.tensor([1.0, 0, 1.8])
    pixels = []
    for n, (view, K) in enumerate(zip(cameras['viewmats'], cameras['Ks'])):
        seen = transform_points(view, points) @ K.T
        seen = seen[seen[:, 2] > 0]
        column, row = (seen[:, :2] / seen[:, 2:]).floor().long().unbind(1)
        inside = (column >= 0) & (column < cameras['width'])
        inside &= (row >= 0) & (row < cameras['height'])
        found = torch.stack((torch.full_like(row, n), row, column), dim=1)
        found = found[inside]
        pixels.append(found[torch.randperm(len(found))[:count]])
    return torch.cat(pixels)


def backward(outputs: list[RenderOutput]) -> None:
    """Of a loss that looks at everything, its own cost left out."""
    tensors = [x for o in outputs for x in (o.features, o.depth, o.alpha)]
    torch.autograd.backward(tensors, [torch.ones_like(x) for x in tensors])


# --- measurements ---------------------------------------------------------


def frustum_step(
    backend: str, count: int, channels: int, opacity: str, scale: float = 1.0
) -> Step:
    """Forward and backward of one camera of 704x256 pixels times scale."""
    size = round(704 * scale), round(256 * scale)
    gaussians, camera = frustum(count, channels, opacity, *size)
    leaves = {k: x.requires_grad_() for k, x in gaussians.items()}

    def forward(_: None) -> list[RenderOutput]:
        for leaf in leaves.values():
            leaf.grad = None
        return [rasterize(**leaves, **camera, backend=backend)]

    return Step(dict(forward=forward, backward=backward))


def pixels_step(way: str) -> Step:
    """3000 labelled pixels of each of six cameras, forward and backward.

    Args:
        way: 'whole images', of which the pixels are taken, or 'labelled
            pixels'.
    """
    leaves = {k: x.requires_grad_() for k, x in coarse_volume().items()}
    cameras = town_rig(torch.diag(torch.tensor([0.5, 0.5, 1])), 800, 450)
    pixels = scanned_pixels(cameras, 3000)

    def forward(_: None) -> list[RenderOutput]:
        for leaf in leaves.values():
            leaf.grad = None
        if way == 'labelled pixels':
            return [rasterize_pixels(**leaves, **cameras, pixels=pixels)]
        out = rasterize(**leaves, **cameras)
        at = pixels.unbind(1)
        return [RenderOutput(out.features[at], out.depth[at], out.alpha[at])]

    return Step(dict(forward=forward, backward=backward))


def volume_step(opacity: str, truth: str) -> Step:
    """Prediction and ground truth of the volume in seven views.

    Args:
        opacity: see town_volume.
        truth: 'none', 'one-hot', 'labels' (by class id), 'shared' (with
            the prediction's projection) or 'cached'.
    """
    gaussians, labels = town_volume(opacity)
    views = town_cameras()
    leaves = [gaussians[name] for name in ('opacities', 'features')]
    for leaf in leaves:
        leaf.requires_grad_()

    def forward(_: object) -> list[RenderOutput]:
        for leaf in leaves:
            leaf.grad = None
        if truth != 'shared':
            return [rasterize(**gaussians, **view) for view in views]
        pairs = [
            rasterize_pair(
                **gaussians,
                labels=labels,
                num_classes=NUM_CLASSES,
                label_features=torch.zeros(len(labels), NUM_FLOW),
                **view,
            )
            for view in views
        ]
        return [prediction for prediction, _ in pairs]

    phases = dict(forward=forward, backward=backward)
    if truth in TRUTHS:
        there = labels >= 0
        occupied = dict(
            means=gaussians['means'][there],
            scales=gaussians['scales'][there],
            opacities=torch.ones(int(there.sum())),
        )
        render = TRUTHS[truth](occupied, labels[there], views)
        phases = {'ground truth': lambda _: render()} | phases
    return Step(phases)


def one_hot_truth(
    occupied: dict[str, Tensor], labels: Tensor, views: list[dict]
) -> Callable:
    """Classes and flow as features, without a gradient."""
    features = torch.nn.functional.one_hot(labels, NUM_CLASSES + NUM_FLOW)
    features = features.float()

    @torch.no_grad()
    def render() -> None:
        for view in views:
            rasterize(**occupied, features=features, **view)

    return render


def label_truth(
    occupied: dict[str, Tensor], labels: Tensor, views: list[dict]
) -> Callable:
    """Class ids, and the flow as features."""
    flow = torch.zeros(len(labels), NUM_FLOW)

    def render() -> list[RenderOutput]:
        return [
            rasterize_labels(
                **occupied,
                labels=labels,
                num_classes=NUM_CLASSES,
                features=flow,
                **view,
            )
            for view in views
        ]

    return render


def cached_truth(
    occupied: dict[str, Tensor], labels: Tensor, views: list[dict]
) -> Callable:
    """Images read from files; no flow."""
    outputs = label_truth(occupied, labels, views)()
    folder = tempfile.TemporaryDirectory()
    cache = LabelCache(folder.name, {})

    def read(keep: object = folder) -> None:
        for view, output in zip(views, outputs):
            cache.fetch(
                labels, Cameras(**view), lambda some, output=output: output
            )

    return read


TRUTHS = {
    'one-hot': one_hot_truth,
    'labels': label_truth,
    'cached': cached_truth,
}


# --- tables ---------------------------------------------------------------


def backends(threads: int) -> Iterator[Row]:
    """30 000 Gaussians, one 704x256 camera, 18 channels and the depth."""
    for opacity in ('U(0, 1)', '1', '0.1'):
        for backend, count in (
            ('numba', threads), ('numba', 1), ('torch', threads),
        ):  # fmt: skip
            yield Row(
                f'{backend}, {count} threads, opacity {opacity}',
                frustum_step,
                (backend, 30_000, 18, opacity),
                count,
            )


def volume(threads: int) -> Iterator[Row]:
    """200x200x16 voxels, six 176x64 cameras and a 200x200 bird's-eye view."""
    for opacity in ('trained', '0.5', '0.1'):
        yield Row(
            f'opacity {opacity}', volume_step, (opacity, 'none'), threads
        )


def truth(threads: int) -> Iterator[Row]:
    """The same step, opacity trained, with the ground truth's images."""
    for kind in ('one-hot', 'labels', 'shared', 'cached'):
        yield Row(kind, volume_step, ('trained', kind), threads)


def pixels(threads: int) -> Iterator[Row]:
    """80 000 Gaussians, 3000 labelled pixels of each of six 800x450 images."""
    for way in ('whole images', 'labelled pixels'):
        yield Row(way, pixels_step, (way,), threads)


def growth(threads: int) -> Iterator[Row]:
    """Growth from 30 000 Gaussians, 704x256 pixels, 18 channels."""
    cases = [
        ('pixels x 1/4', (30_000, 18, 0.5)),
        ('pixels x 4', (30_000, 18, 2.0)),
        ('Gaussians x 1/4', (7_500, 18, 1.0)),
        ('Gaussians x 4', (120_000, 18, 1.0)),
        ('channels x 1/2', (30_000, 9, 1.0)),
        ('channels x 2', (30_000, 36, 1.0)),
    ]
    cases.insert(0, ('as above', (30_000, 18, 1.0)))
    for name, (count, channels, scale) in cases:
        yield Row(
            name,
            frustum_step,
            ('numba', count, channels, 'U(0, 1)', scale),
            threads,
        )


TABLES = {
    'backends': backends,
    'volume': volume,
    'truth': truth,
    'pixels': pixels,
    'growth': growth,
}
