"""What the rasterisers are given: checked and brought into one form.

Shape letters: N cameras, G Gaussians, C channels.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from dataclasses import replace
from types import ModuleType
from typing import Literal, Mapping

import torch
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    Cameras,
    Gaussians,
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


def as_cameras(cameras: Cameras | CameraRig) -> Cameras:
    """Of a rig, the cameras of its network-input images."""
    return cameras.cameras if isinstance(cameras, CameraRig) else cameras


def make_settings(numbers: Mapping[str, float]) -> RenderSettings:
    """The settings with the numbers that are given.

    Raises:
        ValueError: for one that no image can be made with.
        TypeError: for an unknown name.
    """
    # whole numbers too: kernels are compiled for each type they meet
    return RenderSettings(**{k: float(v) for k, v in numbers.items()})


def check_gaussians(gaussians: Gaussians) -> None:
    """Whether the shapes fit each other, else a ValueError."""
    count = len(gaussians)
    same_shape('means', gaussians.means.shape, (count, 3))
    same_shape('scales', gaussians.scales.shape, (count, 3))
    same_shape('opacities', gaussians.opacities.shape, (count,))
    check_features('features', gaussians.features, count)
    if gaussians.quats is not None:
        same_shape('quats', gaussians.quats.shape, (count, 4))


def check_features(name: str, features: Tensor, count: int) -> None:
    """Whether features are (count, C), else a ValueError."""
    channels: int | str = features.shape[1] if features.dim() == 2 else 'C'
    same_shape(name, features.shape, (count, channels))


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


def pick_backend(
    name: str,
    gaussians: Gaussians,
    cameras: Cameras,
    *others: Tensor | None,
) -> tuple[ModuleType, torch.dtype]:
    """Check the devices; the backend's module, and the type it computes in.

    Without numba 'auto' renders CPU tensors with torch.

    Raises:
        ValueError: when devices differ or don't suit the backend.
        MissingPackageError: when the backend is named and needs a package
            that is missing.
    """
    tensors = (*vars(gaussians).values(), *others)
    both = (*tensors, cameras.viewmats, cameras.Ks)
    devices = sorted({str(x.device) for x in both if x is not None})
    if len(devices) > 1:
        raise ValueError(
            f'all tensors must be on one device, got {", ".join(devices)}'
        )
    device = gaussians.means.device.type
    if name == 'auto':
        module = _default_backend(device)
        return module, _common_dtype(module, tensors)
    if name not in BACKENDS:
        raise ValueError(
            f"backend must be 'auto' or one of {BACKENDS}, got {name!r}"
        )
    if BACKEND_DEVICES.get(name, device) != device:
        raise ValueError(
            f'backend {name!r} needs {BACKEND_DEVICES[name]} tensors, got '
            f"{device} tensors; backend='torch' runs on both"
        )
    module = _backend(name)
    return module, _common_dtype(module, tensors)


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


def _common_dtype(
    module: ModuleType, tensors: tuple[Tensor | None, ...]
) -> torch.dtype:
    """float32; the torch backend may also compute in float64."""
    dtype = torch.float32
    if module is torch_backend:
        for tensor in tensors:
            if tensor is not None and tensor.is_floating_point():
                dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def upright(cameras: Cameras, dtype: torch.dtype) -> Cameras:
    """Equivalent cameras whose K is a positive diagonal and a centre.

    Flips, rotations and shears of the image move into the camera's x and
    y axes, which keeps the projection and the depth.

    Raises:
        ValueError: when shapes do not fit, or a camera has a gradient.
    """
    count = len(cameras)
    same_shape('viewmats', cameras.viewmats.shape, (count, 4, 4))
    same_shape('Ks', cameras.Ks.shape, (count, 3, 3))
    if cameras.viewmats.requires_grad or cameras.Ks.requires_grad:
        raise ValueError(
            'rasterize does not differentiate with respect to cameras: '
            'detach viewmats and Ks'
        )
    views = cameras.viewmats.to(torch.float64, copy=True)
    Ks = cameras.Ks.double()
    focal = Ks[:, :2, :2].norm(dim=-1)
    axes = Ks[:, :2, :2] / focal[..., None]
    views[:, :2] = axes @ views[:, :2]
    upright = torch.zeros_like(Ks)
    upright[:, [0, 1], [0, 1]] = focal
    upright[:, :2, 2] = Ks[:, :2, 2]
    upright[:, 2, 2] = 1
    return replace(
        cameras,
        viewmats=views.to(dtype),
        Ks=upright.to(dtype),
        # of numpy's types too, see make_settings
        width=int(cameras.width),
        height=int(cameras.height),
    )
