"""The rasteriser at chosen pixels.

Shape letters: N cameras, G Gaussians, H W pixels of an image, C channels,
P chosen pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from occsplat.structures import CameraRig, Gaussians, same_shape

from .arguments import (
    cast,
    check_features,
    check_gaussians,
    common_dtype,
    make_settings,
    pick_backend,
    rig_cameras,
    upright,
)
from .definition import EPS2D
from .output import RenderOutput


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
    """Render some pixels: what the images of rasterize have there.

    The same values and gradients, for a loss that looks at few pixels of
    large images, such as the LiDAR returns that supervise GSRender. On the
    CPU what nobody looks at is not computed; gsplat renders whole images
    and keeps the pixels.

    Args:
        means, scales, opacities, features, viewmats, Ks, width, height,
            quats, background, near, far, eps2d, max_alpha, camera_model,
            backend: see :func:`~occsplat.rendering.rasterize`; without
            leading dimensions.
        pixels (Tensor): camera, row and column, integers in any order and
            any number of times, (P, 3). P may be 0.

    Returns:
        RenderOutput: features (P, C), depth (P,), alpha (P,) and, but for
        gsplat, first_hit (P,).

    Raises:
        ValueError: when a pixel lies outside the images, or as for
            :func:`~occsplat.rendering.rasterize`.
        MissingPackageError: as for :func:`~occsplat.rendering.rasterize`.
    """
    check_gaussians(means, scales, opacities, quats)
    check_features(features, len(means))
    if background is not None:
        same_shape('background', background.shape, features.shape[1:])
    settings = make_settings(
        width, height, near, far, eps2d, max_alpha, camera_model
    )
    _check_pixels(pixels, (len(Ks), settings.height, settings.width))
    tensors = (means, scales, quats, opacities, features, background)
    module = pick_backend(backend, means, (*tensors, viewmats, Ks, pixels))
    dtype = common_dtype(module, tensors)
    with torch.autocast(means.device.type, enabled=False):
        cameras = upright(viewmats, Ks, dtype)
        return module.render_pixels(
            *cast(tensors, dtype), *cameras, pixels.long(), settings
        )


def render_pixels(
    gaussians: Gaussians, rig: CameraRig, pixels: Tensor, **options: object
) -> RenderOutput:
    """Render Gaussians into some pixels of a rig's images.

    Args:
        gaussians (Gaussians): in the reference frame.
        rig (CameraRig): N cameras, no other dimensions.
        pixels (Tensor): camera, row and column in the network-input
            images, (P, 3).
        **options: background, near, far, ..., see
            :func:`rasterize_pixels`.

    Returns:
        RenderOutput: P pixels.
    """
    return rasterize_pixels(
        **vars(gaussians), **rig_cameras(rig), pixels=pixels, **options
    )


def _check_pixels(pixels: Tensor, shape: tuple[int, int, int]) -> None:
    """Whether pixels (P, 3) are inside images of shape (N, H, W)."""
    count = pixels.shape[0] if pixels.dim() else 'P'
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
