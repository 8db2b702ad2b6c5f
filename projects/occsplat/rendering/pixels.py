"""The rasteriser at chosen pixels.

Shape letters: N cameras, G Gaussians, H W pixels of an image, C channels,
P chosen pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from occsplat.structures import CameraRig, Cameras, Gaussians, same_shape

from .arguments import (
    as_cameras,
    check_gaussians,
    make_settings,
    pick_backend,
    upright,
)
from .definition import EPS2D
from .output import RenderOutput


def render_pixels(
    gaussians: Gaussians,
    cameras: Cameras | CameraRig,
    pixels: Tensor,  # (P, 3)
    background: Tensor | None = None,  # (C,)
    backend: str = 'auto',
    **numbers: float,
) -> RenderOutput:
    """Render some pixels: what the images of render have there.

    The same values and gradients, for a loss that looks at few pixels of
    large images, such as the LiDAR returns that supervise GSRender. On the
    CPU what nobody looks at is not computed; gsplat renders whole images
    and keeps the pixels.

    Args:
        pixels (Tensor): camera, row and column, integers in any order and
            any number of times, (P, 3). P may be 0.
        gaussians, cameras, background, backend, **numbers: see
            :func:`~occsplat.rendering.render`.

    Returns:
        RenderOutput: features (P, C), depth (P,), alpha (P,) and, but for
        gsplat, first_hit (P,).

    Raises:
        ValueError: when a pixel lies outside the images, or as for
            :func:`~occsplat.rendering.rasterize`.
        MissingPackageError: as for :func:`~occsplat.rendering.rasterize`.
    """
    cameras = as_cameras(cameras)
    check_gaussians(gaussians)
    if background is not None:
        shape = gaussians.features.shape[1:]
        same_shape('background', background.shape, shape)
    settings = make_settings(numbers)
    _check_pixels(pixels, (len(cameras), cameras.height, cameras.width))
    module, dtype = pick_backend(
        backend, gaussians, cameras, background, pixels
    )
    with torch.autocast(gaussians.means.device.type, enabled=False):
        if background is not None:
            background = background.to(dtype)
        return module.render_pixels(
            gaussians.to(dtype), background, upright(cameras, dtype),
            pixels.long(), settings,
        )  # fmt: skip


def rasterize_pixels(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    opacities: Tensor,  # (G,)
    features: Tensor,  # (G, C)
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    width: int,
    height: int,
    pixels: Tensor,  # (P, 3)
    quats: Tensor | None = None,  # (G, 4)
    background: Tensor | None = None,  # (C,)
    near: float = 0.1,
    far: float = 1e10,
    eps2d: float = EPS2D,
    max_alpha: float = 0.999,
    camera_model: str = 'pinhole',
    backend: str = 'auto',
) -> RenderOutput:
    """Render some pixels: :func:`render_pixels` for tensors.

    Args:
        means, scales, opacities, features, viewmats, Ks, width, height,
            quats, background, near, far, eps2d, max_alpha, camera_model,
            backend: see :func:`~occsplat.rendering.rasterize`; without
            leading dimensions.
        pixels (Tensor): see :func:`render_pixels`.

    Returns:
        RenderOutput: P pixels.

    Raises:
        ValueError, MissingPackageError: as :func:`render_pixels`.
    """
    return render_pixels(
        Gaussians(means, scales, opacities, features, quats),
        Cameras(viewmats, Ks, width, height, camera_model),
        pixels, background, backend, near=near, far=far, eps2d=eps2d,
        max_alpha=max_alpha,
    )  # fmt: skip


def _check_pixels(pixels: Tensor, shape: tuple[int, int, int]) -> None:
    """Whether pixels (P, 3) are inside images of shape (N, H, W)."""
    count: int | str = pixels.shape[0] if pixels.dim() else 'P'
    same_shape('pixels', pixels.shape, (count, 3))
    if pixels.is_floating_point() or pixels.is_complex():
        raise ValueError(f'pixels must be integers, got {pixels.dtype}')
    if shape[0] == 0:
        raise ValueError('expected at least 1 camera, got 0')
    if len(pixels) == 0:
        return
    for name, size, low, high in zip(
        ('cameras', 'rows', 'columns'),
        shape,
        pixels.amin(0).tolist(),
        pixels.amax(0).tolist(),
    ):
        if low < 0 or high >= size:
            raise ValueError(
                f'pixels: expected {name} in [0, {size}), got {low} to {high}'
            )
