"""The rasteriser in plain torch: any device, any floating type.

Shape letters: N cameras, G Gaussians, S splats (the Gaussians that one
camera sees), Q pairs of a splat and a pixel it reaches, H W pixels,
C channels,
P chosen pixels.

The twin of the compiled backends: slower by far, but short, in any
precision, and differentiated by autograd.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from occsplat.structures import Cameras, Gaussians, transform_points

from . import one_hot
from .definition import MARGIN, MIN_ALPHA, MIN_LEFT, REACH, SLOPE_MARGIN
from .output import RenderOutput, RenderSettings

#: splats times chosen pixels that are compared at once
COMPARISONS = 1 << 24


def render(
    gaussians: Gaussians,
    background: Tensor | None,  # (C,)
    cameras: Cameras,
    settings: RenderSettings,
) -> RenderOutput:
    """Render in the tensors' type; see occsplat.rendering.render."""
    gaussians = _with_a_trace(gaussians)
    height, width = cameras.height, cameras.width
    images = [
        _blend(*_splats(gaussians, cameras, n, settings), None, cameras,
               settings.max_alpha)
        for n in range(len(cameras))
    ]  # fmt: skip
    blended, left, first_hit = (
        torch.stack(x).view(len(images), height, width, *x[0].shape[1:])
        for x in zip(*images)
    )
    return _output(blended, left, first_hit, background)


render_labels = partial(one_hot.render_labels, render)
render_pair = partial(one_hot.render_pair, render)


def render_pixels(
    gaussians: Gaussians,
    background: Tensor | None,  # (C,)
    cameras: Cameras,
    pixels: Tensor,  # (P, 3)
    settings: RenderSettings,
) -> RenderOutput:
    """Chosen pixels; see occsplat.rendering.render_pixels."""
    gaussians = _with_a_trace(gaussians)
    camera, order = pixels[:, 0].sort(stable=True)
    # a camera even without a pixel: no pixels have gradients, too, of 0
    used = camera.unique().tolist() or [0]
    parts = [
        _blend(
            *_splats(gaussians, cameras, n, settings),
            pixels[order[camera == n], 1:],
            cameras,
            settings.max_alpha,
        )
        for n in used
    ]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    blended, left, first_hit = (torch.cat(x)[place] for x in zip(*parts))
    return _output(blended, left, first_hit, background)


def _output(
    blended: Tensor,  # (..., C + 1)
    left: Tensor,  # (...)
    first_hit: Tensor,  # (...)
    background: Tensor | None,  # (C,)
) -> RenderOutput:
    image, depth = blended[..., :-1], blended[..., -1]
    if background is not None:
        image = image + left[..., None] * background
    return RenderOutput(image, depth, 1 - left, first_hit)


def _with_a_trace(gaussians: Gaussians) -> Gaussians:
    """Those that a pixel could show."""
    return gaussians.chosen(gaussians.opacities >= MIN_ALPHA)


def _splats(
    gaussians: Gaussians, cameras: Cameras, n: int, settings: RenderSettings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Front to back: centres, covariances, opacities, features.

    Of camera n. The depth is the last of the features.
    """
    view = cameras.viewmats[n]
    depths = (gaussians.means @ view[2, :3] + view[2, 3]).detach()
    inside = (depths >= settings.near) & (depths <= settings.far)
    order = inside.nonzero()[:, 0]
    # stable: Gaussians of equal depth stay in the order of their index
    seen = gaussians.chosen(order[depths[order].sort(stable=True).indices])
    centres, covariances, depths = project(seen, cameras, n, settings.eps2d)
    features = torch.cat((seen.features, depths[:, None]), dim=1)
    return centres, covariances, seen.opacities, features


def project(
    gaussians: Gaussians, cameras: Cameras, n: int, eps2d: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Centres (G, 2), 2D covariances (G, 2, 2) and depths (G,).

    In pixels and metres, for Gaussians in front of camera n.
    """
    view = cameras.viewmats[n]
    points = transform_points(view, gaussians.means)
    centres, jacobian = _linearise(points, cameras, n)
    axes = jacobian @ view[:3, :3]  # (G, 2, 3)
    if gaussians.quats is not None:
        axes = axes @ _rotations(gaussians.quats)
    axes = axes * gaussians.scales[:, None]
    eye = torch.eye(2, dtype=axes.dtype, device=axes.device)
    covariances = axes @ axes.transpose(1, 2) + eps2d * eye
    return centres, covariances, points[:, 2]


def _rotations(quats: Tensor) -> Tensor:
    """Rotation matrices of quaternions wxyz, (G, 4) -> (G, 3, 3)."""
    w, x, y, z = F.normalize(quats, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _linearise(
    points: Tensor, cameras: Cameras, n: int
) -> tuple[Tensor, Tensor]:
    """Pixels (S, 2) of camera-frame points and the Jacobian (S, 2, 3).

    The Jacobian, not the pixel, uses slopes clamped to slightly more than
    the field of view: the linearisation (Zwicker et al., EWA splatting,
    2001) explodes towards the sides.
    """
    K = cameras.Ks[n]
    focal, centre = K[[0, 1], [0, 1]], K[:2, 2]
    if cameras.ortho:
        jacobian = torch.diag(focal)
        jacobian = F.pad(jacobian, (0, 1)).expand(len(points), 2, 3)
        return focal * points[:, :2] + centre, jacobian
    z = points[:, 2:]
    slopes = points[:, :2] / z
    size = focal.new_tensor([cameras.width, cameras.height])
    margin = SLOPE_MARGIN * size / focal
    clamped = slopes.clamp(
        -(centre / focal + margin), (size - centre) / focal + margin
    )
    diagonal = torch.diag(focal) / z[..., None]
    last = -focal * clamped / z
    return focal * slopes + centre, torch.cat((diagonal, last[..., None]), 2)


def _blend(
    centres: Tensor,  # (S, 2) front to back
    covariances: Tensor,  # (S, 2, 2)
    opacities: Tensor,  # (S,)
    features: Tensor,  # (S, C + 1)
    chosen: Tensor | None,  # (P, 2) row and column; None: all H * W pixels
    cameras: Cameras,
    max_alpha: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (P, C + 1), transmittance and first hit (P,)."""
    height, width = cameras.height, cameras.width
    count = height * width if chosen is None else len(chosen)
    xx, xy, yy = (covariances[:, i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
    determinant = xx * yy - xy * xy
    # a degenerate splat gets no pixels; 1 keeps the division harmless
    valid = determinant > 0
    determinant = torch.where(valid, determinant, 1.0)
    conics = torch.stack((yy, -xy, xx), dim=1) / determinant[:, None]

    def alphas(splat: Tensor, pixel: Tensor) -> Tensor:
        if chosen is None:
            y, x = pixel // width + 0.5, pixel % width + 0.5
        else:
            y, x = (chosen[pixel] + 0.5).unbind(1)
        offset = centres[splat] - torch.stack((x, y), dim=1)
        dx, dy = offset.unbind(1)
        a, b, c = conics[splat].unbind(1)
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        alpha = opacities[splat] * torch.exp(-sigma)
        return alpha.clamp(max=max_alpha)

    with torch.no_grad():
        reach = torch.stack((xx, yy), dim=1).sqrt() * REACH + MARGIN
        boxes = _boxes(centres, reach * valid[:, None], width, height)
        splat, pixel = (
            _pairs(*boxes, width)
            if chosen is None
            else _pairs_among(*boxes, chosen)
        )
        alpha = alphas(splat, pixel)
        reached = alpha >= MIN_ALPHA
        splat, pixel, alpha = splat[reached], pixel[reached], alpha[reached]
        pixel, order = pixel.sort(stable=True)
        splat, alpha = splat[order], alpha[order]
        before, after = _transmittance(alpha, pixel)
        # transmittance only falls: what is kept is the front of each pixel
        kept = after > MIN_LEFT
        crossed = kept & (before > 0.5) & (after <= 0.5)
        first_hit = features.new_zeros(count)
        first_hit[pixel[crossed]] = features[splat[crossed], -1]
        splat, pixel = splat[kept], pixel[kept]
    alpha = alphas(splat, pixel)
    before, after = _transmittance(alpha, pixel)
    weights = (alpha * before.to(alpha.dtype))[:, None]
    image = features.new_zeros(count, features.shape[1])
    image = image.index_add(0, pixel, weights * features[splat])
    opaque = features.new_zeros(count)
    opaque = opaque.index_add(0, pixel, weights[:, 0])
    return image, 1 - opaque, first_hit


def _boxes(
    centres: Tensor,  # (S, 2)
    reach: Tensor,  # (S, 2)
    width: int,
    height: int,
) -> tuple[Tensor, Tensor]:
    """First pixel and the one past the last, (S, 2) as x and y."""
    limit = reach.new_tensor([width, height])
    low = (centres - reach - 0.5).ceil().clamp(min=0)
    high = (centres + reach + 0.5).floor()
    return low.minimum(limit), high.minimum(limit)


def _pairs(low: Tensor, high: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Splat and pixel of every pixel centre in every splat's box.

    Sorted by splat, so that a pixel meets its splats front to back.
    """
    size = (high - low).clamp(min=0).long()
    counts = size[:, 0] * size[:, 1]
    splat = torch.arange(len(counts), device=counts.device)
    splat = splat.repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    within = torch.arange(len(splat), device=counts.device) - starts[splat]
    x, y = within % size[splat, 0], within // size[splat, 0]
    first = low.long()[splat]
    return splat, (first[:, 1] + y) * width + first[:, 0] + x


def _pairs_among(
    low: Tensor, high: Tensor, chosen: Tensor
) -> tuple[Tensor, Tensor]:
    """As :func:`_pairs` for chosen pixels (P, 2), row and column.

    The pixel is its index among the chosen. Splats are compared with all
    pixels, some splats at a time to bound the memory.
    """
    y, x = chosen.to(low.dtype).unbind(1)
    step = max(1, COMPARISONS // max(1, len(chosen)))
    splats = [low.new_zeros(0, dtype=torch.long)]
    pixels = [low.new_zeros(0, dtype=torch.long)]
    for first in range(0, len(low), step):
        a, b = (z[first : first + step, :, None] for z in (low, high))
        inside = (a[:, 0] <= x) & (x < b[:, 0])
        inside &= (a[:, 1] <= y) & (y < b[:, 1])
        splat, pixel = inside.nonzero().unbind(1)
        splats.append(splat + first)
        pixels.append(pixel)
    return torch.cat(splats), torch.cat(pixels)


def _transmittance(alpha: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Light left before and after each pair of its pixel, float64.

    A product along every run of equal pixels, taken as a sum of
    logarithms: float64 loses nothing to the difference of long sums.
    """
    log = torch.log1p(-alpha.double())
    total = log.cumsum(0)
    starts = torch.searchsorted(pixel, pixel)
    base = (total - log)[starts]
    return (total - log - base).exp(), (total - base).exp()
