"""rasterize(): Gaussians and cameras to images, one meaning, three ways.

Shape letters: N cameras, G Gaussians, C feature channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from occsplat.structures import same_shape

from .gsplat_backend import rasterize_gsplat
from .numba_backend import rasterize_numba
from .output import RenderOutput
from .projection import Cameras
from .torch_backend import rasterize_torch

_BACKENDS = dict(
    torch=rasterize_torch, numba=rasterize_numba, gsplat=rasterize_gsplat
)
_MODELS = ('pinhole', 'ortho')


def rasterize(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    opacities: Tensor,  # (G,)
    features: Tensor,  # (G, C)
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    width: int,
    height: int,
    quats: Tensor | None = None,  # (G, 4)
    background: Tensor | None = None,  # (C,)
    near: float = 0.1,
    far: float = 1e10,
    eps2d: float = 0.3,
    max_alpha: float = 0.999,
    camera_model: str = 'pinhole',
    backend: str = 'auto',
) -> RenderOutput:
    """Splat 3D Gaussians into cameras (Kerbl et al., 2023).

    The meaning is that of gsplat 1.5.3's ``rasterization`` with
    ``render_mode='RGB+D'`` and ``rasterize_mode='classic'``: alpha =
    min(max_alpha, opacity * exp(-sigma)), splats below 1/255 are skipped,
    a ray ends before its light falls to 1e-4, order is by camera z of the
    centre and then by index. Pixel centres are at +0.5.

    Differentiable in means, scales, quats, opacities, features and
    background. The torch backend computes in the dtype of ``means``, the
    others in float32; autocast is off inside.

    Args:
        means: centres in metres, world frame.
        scales: standard deviations in metres.
        opacities: in [0, 1].
        features: what is composited, any number of channels.
        viewmats: world -> camera (OpenCV axes). Reflections are fine.
        Ks: intrinsics in pixels.
        width, height: of the images.
        quats: rotations wxyz, normalised inside; None: axis-aligned.
        background: what shows where light passes, default 0. The
            background of depth is 0.
        near, far: depth range in metres, both ends included.
        eps2d: added to the diagonal of 2D covariances, square pixels.
        max_alpha: clamp of alpha.
        camera_model: 'pinhole' or 'ortho' (pixels per metre in Ks).
        backend: 'torch', 'numba' (CPU), 'gsplat' (CUDA), or 'auto': by
            the device of ``means``.

    Returns:
        RenderOutput: features (N, H, W, C), depth and alpha (N, H, W).

    Raises:
        ValueError: for shapes, names or devices that do not fit.
        ImportError: for CUDA tensors when gsplat is not installed.
    """
    backend = _backend_name(backend, means)
    dtype = means.dtype if backend == 'torch' else torch.float32
    if background is None:
        background = features.new_zeros(features.shape[-1])
    tensors = _validated(
        means, scales, opacities, features, viewmats, Ks, quats, background
    )
    means, scales, opacities, features, viewmats, Ks, quats, background = (
        None if tensor is None else tensor.to(dtype) for tensor in tensors
    )
    if camera_model not in _MODELS:
        raise ValueError(
            f'camera_model must be one of {_MODELS}, got {camera_model!r}'
        )
    cameras = Cameras(
        viewmats, Ks, width, height, near, far, eps2d, camera_model
    )
    with torch.autocast(means.device.type, enabled=False):
        return _BACKENDS[backend](
            means,
            scales,
            opacities,
            features,
            quats,
            background,
            cameras,
            max_alpha,
        )


def _backend_name(backend: str, means: Tensor) -> str:
    if backend == 'auto':
        return {'cuda': 'gsplat', 'cpu': 'numba'}.get(
            means.device.type, 'torch'
        )
    if backend not in _BACKENDS:
        raise ValueError(
            f"backend must be 'auto' or one of {sorted(_BACKENDS)}, got "
            f'{backend!r}'
        )
    if backend == 'numba' and means.device.type != 'cpu':
        raise ValueError(
            f"backend 'numba' needs CPU tensors, got {means.device}"
        )
    return backend


def _validated(
    means: Tensor,
    scales: Tensor,
    opacities: Tensor,
    features: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    quats: Tensor | None,
    background: Tensor,
) -> tuple[Tensor | None, ...]:
    """Check the shapes against each other."""
    if means.dim() != 2 or features.dim() != 2 or viewmats.dim() != 3:
        raise ValueError(
            'rasterize expects means (G, 3), features (G, C) and viewmats '
            f'(N, 4, 4), got {tuple(means.shape)}, {tuple(features.shape)} '
            f'and {tuple(viewmats.shape)}'
        )
    count, cameras = len(means), len(viewmats)
    same_shape('means', means.shape, (count, 3))
    same_shape('scales', scales.shape, (count, 3))
    same_shape('opacities', opacities.shape, (count,))
    same_shape('features', features.shape, (count, features.shape[1]))
    same_shape('viewmats', viewmats.shape, (cameras, 4, 4))
    same_shape('Ks', Ks.shape, (cameras, 3, 3))
    same_shape('background', background.shape, (features.shape[1],))
    if quats is not None:
        same_shape('quats', quats.shape, (count, 4))
    return (
        means, scales, opacities, features, viewmats, Ks, quats, background
    )  # fmt: skip
