"""The rasteriser for CUDA tensors: gsplat's kernels.

gsplat (Ye et al., "gsplat: An open-source library for Gaussian splatting",
2024) is an optional extra and is imported when first needed.

Shape letters: N cameras, G Gaussians, C channels, P pixels.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from types import ModuleType

from torch import Tensor
from torch.nn import functional as F

from occsplat.structures import Cameras, Gaussians, MissingPackageError

from . import one_hot
from .output import RenderOutput, RenderSettings


@dataclass(frozen=True)
class Release:
    """What differs between releases of gsplat.

    Attributes:
        max_alpha: the largest alpha, compiled into its kernels.
        channels: channel counts with a kernel; empty where gsplat pads
            to them itself.
    """

    max_alpha: float
    channels: tuple[int, ...] = ()


#: version (major, minor) -> release. Scenes go in one by one (see
#: rasterize): packed, 1.5 culls every scene by the first one's opacities
RELEASES = {
    (1, 5): Release(max_alpha=0.999),
    (1, 6): Release(
        max_alpha=0.99,
        channels=(
            1, 2, 3, 4, 5, 6, 8, 9, 16, 17, 21, 23, 24, 32, 33, 64, 65, 128,
            129, 256, 257, 512, 513,
        ),
    ),
}  # fmt: skip


def render(
    gaussians: Gaussians,
    background: Tensor | None,  # (C,)
    cameras: Cameras,
    settings: RenderSettings,
) -> RenderOutput:
    """Render in float32; see occsplat.rendering.render.

    Raises:
        MissingPackageError: when gsplat is not installed.
        ValueError: when this release of gsplat cannot render like this.
    """
    gsplat = _import()
    release = _release(gsplat.__version__)
    if abs(settings.max_alpha - release.max_alpha) > 1e-6:
        raise ValueError(
            f'gsplat {gsplat.__version__} has max_alpha='
            f'{release.max_alpha} compiled in, got {settings.max_alpha}: '
            "ask for that value or use backend='torch'"
        )
    means, quats = gaussians.means, gaussians.quats
    if quats is None:
        quats = means.new_tensor([1, 0, 0, 0]).expand(len(means), 4)
    channels = gaussians.features.shape[1]
    rendered, alpha, _ = gsplat.rasterization(
        means,
        quats.contiguous(),
        gaussians.scales,
        gaussians.opacities,
        F.pad(gaussians.features, (0, _padding(channels, release))),
        cameras.viewmats,
        cameras.Ks,
        cameras.width,
        cameras.height,
        near_plane=settings.near,
        far_plane=settings.far,
        eps2d=settings.eps2d,
        # keeps the visible Gaussians only; unpacked, every camera would
        # get its own copy of the features
        packed=True,
        render_mode='RGB+D',
        camera_model=cameras.camera_model,
    )
    image = rendered[..., :channels]
    if background is not None:
        # gsplat's own, ``backgrounds``, stops with packed=True
        image = image + (1 - alpha) * background
    return RenderOutput(image, rendered[..., -1], alpha[..., 0])


render_labels = partial(one_hot.render_labels, render)
render_pair = partial(one_hot.render_pair, render)


def render_pixels(
    gaussians: Gaussians,
    background: Tensor | None,  # (C,)
    cameras: Cameras,
    pixels: Tensor,  # (P, 3)
    settings: RenderSettings,
) -> RenderOutput:
    """Whole images, of which the pixels are kept; see :func:`render`."""
    images = render(gaussians, background, cameras, settings)
    at = pixels.unbind(1)
    return RenderOutput(
        images.features[at], images.depth[at], images.alpha[at]
    )


def installed_version() -> str:
    """The gsplat that renders CUDA tensors here.

    Raises:
        MissingPackageError: when it can't be imported.
        ValueError: when it is of a release that is not supported.
    """
    version = _import().__version__
    _release(version)
    return version


def _import() -> ModuleType:
    try:
        return importlib.import_module('gsplat')
    except ImportError as error:
        raise MissingPackageError(
            'rendering CUDA tensors needs gsplat: run '
            "pip install 'occsplat[gsplat]', or pass backend='torch' to do "
            'without (much slower)'
        ) from error


def _release(version: str) -> Release:
    number = tuple(int(part) for part in version.split('.')[:2])
    if number not in RELEASES:
        known = ', '.join(f'{a}.{b}' for a, b in RELEASES)
        raise ValueError(
            f'gsplat {version} is not supported: install one of {known}'
        )
    return RELEASES[number]


def _padding(channels: int, release: Release) -> int:
    """Zero channels to add so that they and the depth have a kernel."""
    for native in release.channels:
        if native >= channels + 1:
            return native - channels - 1
    return 0
