"""What the rasterisers are given: checked and brought into one form.

Shape letters: N cameras, G Gaussians, C channels.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    MissingPackageError,
    same_shape,
)

from . import torch_backend
from .output import RenderSettings

#: each is a module <name>_backend, imported when it is first asked for
BACKENDS = ('torch', 'numba', 'gsplat')
#: their names, and the one of them that is fast where tensors live
Backend = Literal['auto', 'torch', 'numba', 'gsplat']
#: where tensors live -> the backend that is fast there
DEFAULT_BACKENDS = {'cpu': 'numba', 'cuda': 'gsplat'}
#: the only device of backends that have one
BACKEND_DEVICES = {'numba': 'cpu', 'gsplat': 'cuda'}
CAMERA_MODELS = ('pinhole', 'ortho')


def rig_cameras(rig: CameraRig) -> dict:
    """The arguments of the rasterisers that a rig has."""
    return dict(
        viewmats=rig.ref2cam,
        Ks=rig.image_K,
        width=rig.width,
        height=rig.height,
    )


def cast(tensors: tuple, dtype: torch.dtype) -> list[Tensor | None]:
    """All tensors in one type; None stays None."""
    return [None if x is None else x.to(dtype) for x in tensors]


def check_features(features: Tensor, count: int) -> None:
    """Whether features are (count, C), else a ValueError."""
    channels = features.shape[1] if features.dim() == 2 else 'C'
    same_shape('features', features.shape, (count, channels))


def check_gaussians(
    means: Tensor, scales: Tensor, opacities: Tensor, quats: Tensor | None
) -> None:
    """Whether the shapes fit each other, else a ValueError."""
    count = len(means)
    same_shape('means', means.shape, (count, 3))
    same_shape('scales', scales.shape, (count, 3))
    same_shape('opacities', opacities.shape, (count,))
    if quats is not None:
        same_shape('quats', quats.shape, (count, 4))


def check_labels(
    labels: Tensor, count: int, num_classes: int, lowest: int | None
) -> None:
    """Whether labels (count,) are classes, else a ValueError.

    ``lowest`` None allows any negative label.
    """
    same_shape('labels', labels.shape, (count,))
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f'labels must be integers, got {labels.dtype}')
    if count == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if high >= num_classes or (lowest is not None and low < lowest):
        expected = f'lie in [0, {num_classes})'
        if lowest is None:
            expected += ' or be negative'
        raise ValueError(
            f'labels must {expected}, got {low} to {high}: leave out '
            'ignored voxels before rendering'
        )


def make_settings(
    width: int,
    height: int,
    near: float,
    far: float,
    eps2d: float,
    max_alpha: float,
    camera_model: str,
) -> RenderSettings:
    """The settings, or a ValueError that names what does not fit."""
    if width < 1 or height < 1:
        raise ValueError(
            f'width and height must be positive, got {width} x {height}'
        )
    if not 0 < near < far:
        # the sort by depth needs positive depths, for 'ortho' as well
        raise ValueError(f'expected 0 < near < far, got {near} and {far}')
    if not eps2d >= 0:
        raise ValueError(f'eps2d must not be negative, got {eps2d}')
    if not 0 < max_alpha < 1:
        raise ValueError(f'expected 0 < max_alpha < 1, got {max_alpha}')
    if camera_model not in CAMERA_MODELS:
        raise ValueError(
            f'camera_model must be one of {CAMERA_MODELS}, '
            f'got {camera_model!r}'
        )
    return RenderSettings(
        int(width),
        int(height),
        float(near),
        float(far),
        float(eps2d),
        float(max_alpha),
        camera_model == 'ortho',
    )


def pick_backend(
    name: str, means: Tensor, tensors: tuple[Tensor | None, ...]
) -> ModuleType:
    """Check the devices and pick the backend's module.

    Without numba 'auto' renders CPU tensors with torch.

    Raises:
        ValueError: when devices differ or don't suit the backend.
        MissingPackageError: when the backend is named and needs a package
            that is missing.
    """
    devices = sorted({str(x.device) for x in tensors if x is not None})
    if len(devices) > 1:
        raise ValueError(
            f'all tensors must be on one device, got {", ".join(devices)}'
        )
    device = means.device.type
    if name == 'auto':
        return _default_backend(device)
    if name not in BACKENDS:
        raise ValueError(
            f"backend must be 'auto' or one of {BACKENDS}, got {name!r}"
        )
    if BACKEND_DEVICES.get(name, device) != device:
        raise ValueError(
            f'backend {name!r} needs {BACKEND_DEVICES[name]} tensors, got '
            f"{device} tensors; backend='torch' runs on both"
        )
    return _backend(name)


def _backend(name: str) -> ModuleType:
    return importlib.import_module(f'.{name}_backend', __package__)


@functools.cache
def _default_backend(device: str) -> ModuleType:
    """The fast one of a device, or torch's where numba is missing."""
    try:
        return _backend(DEFAULT_BACKENDS.get(device, 'torch'))
    except MissingPackageError as error:
        warnings.warn(
            f"{error}. Until then CPU tensors are rendered by backend='torch',"
            ' which is much slower',
            stacklevel=2,
        )
        return torch_backend


def common_dtype(
    module: ModuleType, tensors: tuple[Tensor | None, ...]
) -> torch.dtype:
    """float32; the torch backend may also compute in float64."""
    dtype = torch.float32
    if module is torch_backend:
        for tensor in tensors:
            if tensor is not None:
                dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def upright(
    viewmats: Tensor, Ks: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Equivalent cameras whose K is a positive diagonal and a centre.

    Flips, rotations and shears of the image move into the camera's x and
    y axes, which keeps the projection and the depth.

    Raises:
        ValueError: when shapes do not fit, or a camera has a gradient.
    """
    count = len(Ks)
    same_shape('viewmats', viewmats.shape, (count, 4, 4))
    same_shape('Ks', Ks.shape, (count, 3, 3))
    if viewmats.requires_grad or Ks.requires_grad:
        raise ValueError(
            'rasterize does not differentiate with respect to cameras: '
            'detach viewmats and Ks'
        )
    views, Ks = viewmats.to(torch.float64, copy=True), Ks.double()
    focal = Ks[:, :2, :2].norm(dim=-1)
    axes = Ks[:, :2, :2] / focal[..., None]
    views[:, :2] = axes @ views[:, :2]
    upright = torch.zeros_like(Ks)
    upright[:, [0, 1], [0, 1]] = focal
    upright[:, :2, 2] = Ks[:, :2, 2]
    upright[:, 2, 2] = 1
    return views.to(dtype), upright.to(dtype)
