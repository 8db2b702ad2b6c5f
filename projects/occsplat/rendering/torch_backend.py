"""The renderer in plain torch: any device, any dtype, the reference twin.

Shape letters: N cameras, G Gaussians, M visible pairs, P pixels,
C channels (features and depth), K splats over one pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .output import RenderOutput
from .projection import (
    MIN_ALPHA,
    MIN_TRANSMITTANCE,
    Cameras,
    Splats,
    project_gaussians,
)

#: pixels composited at a time, which bounds the memory
PIXELS_AT_ONCE = 4096


def rasterize_torch(
    means: Tensor,
    scales: Tensor,
    opacities: Tensor,
    features: Tensor,
    quats: Tensor | None,
    background: Tensor,
    cameras: Cameras,
    max_alpha: float,
) -> RenderOutput:
    """Render with autograd; see ``rasterize`` for the meaning."""
    splats = project_gaussians(means, scales, quats, opacities, cameras)
    images = [
        _render_camera(
            n, splats, opacities, features, background, cameras, max_alpha
        )
        for n in range(len(cameras.viewmats))
    ]
    image, alpha = map(torch.stack, zip(*images))
    return RenderOutput(image[..., :-1], image[..., -1], alpha)


def _render_camera(
    n: int,
    splats: Splats,
    opacities: Tensor,
    features: Tensor,
    background: Tensor,
    cameras: Cameras,
    max_alpha: float,
) -> tuple[Tensor, Tensor]:
    mine = (splats.camera == n).nonzero()[:, 0]
    order = torch.sort(splats.depths[mine].detach(), stable=True).indices
    mine = mine[order]
    gaussian = splats.gaussian[mine]
    depths = splats.depths[mine]
    channels = torch.cat([features[gaussian], depths[:, None]], dim=1)
    height, width = cameras.height, cameras.width
    y, x = torch.meshgrid(
        torch.arange(height, device=channels.device) + 0.5,
        torch.arange(width, device=channels.device) + 0.5,
        indexing='ij',
    )
    pixels = torch.stack([x, y], -1).view(-1, 2).to(channels.dtype)
    parts = [
        _composite(
            part,
            splats.means2d[mine],
            splats.conics[mine],
            opacities[gaussian],
            channels,
            max_alpha,
        )
        for part in pixels.split(PIXELS_AT_ONCE)
    ]
    image, passed = (torch.cat(part) for part in zip(*parts))
    behind = torch.cat([background, background.new_zeros(1)])
    image = image + passed[:, None] * behind
    return (
        image.view(height, width, -1),
        (1 - passed).view(height, width),
    )


def _composite(
    pixels: Tensor,
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    channels: Tensor,
    max_alpha: float,
) -> tuple[Tensor, Tensor]:
    """Front-to-back compositing of sorted splats.

    Returns:
        tuple: image (P, C) and the light that passes (P,).
    """
    with torch.no_grad():
        alpha = _alphas(pixels, means2d, conics, opacities, max_alpha)
        passed = (1 - alpha).cumprod(dim=1)
        # the splat that would end the ray does not count, nor any after
        counted = (alpha > 0) & (passed > MIN_TRANSMITTANCE)
        seen = counted.any(dim=0).nonzero()[:, 0]
        counted = counted[:, seen]
    alpha = _alphas(
        pixels, means2d[seen], conics[seen], opacities[seen], max_alpha
    )
    alpha = torch.where(counted, alpha, 0.0)
    passed = (1 - alpha).cumprod(dim=1)
    before = torch.cat([torch.ones_like(passed[:, :1]), passed], dim=1)
    weights = alpha * before[:, :-1]
    return weights @ channels[seen], before[:, -1]


def _alphas(
    pixels: Tensor,
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    max_alpha: float,
) -> Tensor:
    """alpha of every splat at every pixel, 0 below 1/255, (P, K)."""
    dx = means2d[:, 0] - pixels[:, :1]
    dy = means2d[:, 1] - pixels[:, 1:]
    a, b, c = conics.unbind(-1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacities * (-sigma).exp()).clamp(max=max_alpha)
    return torch.where((sigma >= 0) & (alpha >= MIN_ALPHA), alpha, 0.0)
