"""The renderer on NVIDIA GPUs: gsplat's CUDA kernels.

gsplat is imported when a CUDA tensor asks for it and not before: on a
machine with nvcc and no GPU the import succeeds and the first call dies.

Shape letters: N cameras, G Gaussians, C channels, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

import torch
from torch import Tensor

from .output import RenderOutput
from .projection import Cameras


@dataclass(frozen=True)
class GsplatVersion:
    """What differs between gsplat releases.

    Attributes:
        max_alpha: clamp of alpha compiled into the kernels.
        channels: channel counts that are compiled, depth included.
        pads: whether other counts are padded by gsplat itself.
    """

    max_alpha: float
    channels: tuple[int, ...]
    pads: bool


#: by major.minor release
VERSIONS = {
    '1.5': GsplatVersion(
        0.999, (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128), True
    ),
    '1.6': GsplatVersion(
        0.99,
        (1, 2, 3, 4, 5, 6, 8, 9, 16, 17, 21, 23, 24, 32, 33, 64, 65, 128),
        False,
    ),
}


def rasterize_gsplat(
    means: Tensor,
    scales: Tensor,
    opacities: Tensor,
    features: Tensor,
    quats: Tensor | None,
    background: Tensor,
    cameras: Cameras,
    max_alpha: float,
) -> RenderOutput:
    """Render float32 CUDA tensors; see ``rasterize`` for the meaning.

    Raises:
        ImportError: when gsplat is missing, or its release is unknown.
        ValueError: when the tensors are not on a GPU, or ``max_alpha``
            is not what the installed release compiles in.
    """
    if not means.is_cuda:
        raise ValueError(
            f"backend 'gsplat' needs CUDA tensors, got {means.device}; use "
            "backend='auto'"
        )
    version = _installed_version()
    if max_alpha != version.max_alpha:
        raise ValueError(
            f'the installed gsplat clamps alpha at {version.max_alpha}, '
            f'asked for max_alpha={max_alpha}'
        )
    from gsplat import rasterization

    if quats is None:
        quats = means.new_zeros(len(means), 4)
        quats[:, 0] = 1
    count = features.shape[1]
    padding = 0 if version.pads else _padding(count + 1, version.channels)
    features = torch.nn.functional.pad(features, (0, padding))
    background = torch.nn.functional.pad(background, (0, padding))
    # packed mode reads scene 0's opacities for every scene in 1.5.3: one
    # scene a call, all its cameras together
    image, alpha, _ = rasterization(
        means,
        quats,
        scales,
        opacities,
        features,
        cameras.viewmats,
        cameras.Ks,
        cameras.width,
        cameras.height,
        near_plane=cameras.near,
        far_plane=cameras.far,
        eps2d=cameras.eps2d,
        packed=True,
        backgrounds=background.expand(len(cameras.viewmats), -1),
        render_mode='RGB+D',
        rasterize_mode='classic',
        camera_model=cameras.model,
    )
    return RenderOutput(image[..., :count], image[..., -1], alpha[..., 0])


def _padding(channels: int, compiled: tuple[int, ...]) -> int:
    """How many channels to add to reach a compiled number."""
    for size in compiled:
        if size >= channels:
            return size - channels
    raise ValueError(
        f'gsplat renders at most {compiled[-1]} channels, got {channels}'
    )


def _installed_version() -> GsplatVersion:
    try:
        release = metadata.version('gsplat')
    except metadata.PackageNotFoundError:
        raise ImportError(
            'rendering CUDA tensors needs gsplat, which is not installed: '
            "pip install 'occsplat[gsplat]', or pass backend='torch'"
        ) from None
    key = '.'.join(release.split('.')[:2])
    if key not in VERSIONS:
        raise ImportError(
            f'gsplat {release} is not supported, expected one of '
            f"{sorted(VERSIONS)}: pip install 'occsplat[gsplat]', or pass "
            "backend='torch'"
        )
    return VERSIONS[key]
