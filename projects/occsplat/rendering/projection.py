"""EWA projection of 3D Gaussians (Zwicker et al., 2001), as in gsplat.

Shape letters: N cameras, G Gaussians, M (camera, Gaussian) pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: below this alpha a splat does not count
MIN_ALPHA = 1.0 / 255.0
#: light that passes at most, before a ray ends
MIN_TRANSMITTANCE = 1e-4
#: extent of a splat in standard deviations: beyond it alpha < 1/255
MAX_EXTENT = 3.33


@dataclass
class Cameras:
    """N cameras of one size and model.

    Attributes:
        viewmats (Tensor): world -> camera, (N, 4, 4).
        Ks (Tensor): intrinsics, (N, 3, 3).
        width, height: pixels.
        near, far: depth range in metres, both ends included.
        eps2d: added to the diagonal of 2D covariances, square pixels.
        model: 'pinhole' or 'ortho'.
    """

    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    near: float
    far: float
    eps2d: float
    model: str


@dataclass
class Splats:
    """Gaussians as cameras see them, M visible pairs, by camera.

    Attributes:
        camera (Tensor): int64 (M,).
        gaussian (Tensor): int64 (M,).
        means2d (Tensor): pixels, (M, 2).
        conics (Tensor): inverse 2D covariance a, b, c, (M, 3).
        depths (Tensor): camera z of the centre, (M,).
        radii (Tensor): half extents in pixels, (M, 2).
    """

    camera: Tensor
    gaussian: Tensor
    means2d: Tensor
    conics: Tensor
    depths: Tensor
    radii: Tensor


def project_gaussians(
    means: Tensor,
    scales: Tensor,
    quats: Tensor | None,
    opacities: Tensor,
    cameras: Cameras,
) -> Splats:
    """Project, dropping what no pixel can see.

    Args:
        means (Tensor): (G, 3).
        scales (Tensor): (G, 3).
        quats (Tensor | None): wxyz, (G, 4); None: axis-aligned.
        opacities (Tensor): (G,).
        cameras (Cameras): N cameras.

    Returns:
        Splats: differentiable in means, scales and quats.
    """
    camera, gaussian = _candidates(means, scales, opacities, cameras)
    rotation = cameras.viewmats[camera, :3, :3]
    offset = cameras.viewmats[camera, :3, 3]
    local = torch.einsum('mij,mj->mi', rotation, means[gaussian]) + offset
    axes = _axes(scales[gaussian], None if quats is None else quats[gaussian])
    means2d, jacobian = _to_image(local, cameras.Ks[camera], cameras)
    # covariance = (J R axes) (J R axes)^T
    factor = jacobian @ rotation @ axes  # (M, 2, 3)
    covariance = factor @ factor.transpose(1, 2)
    a = covariance[:, 0, 0] + cameras.eps2d
    b = covariance[:, 0, 1]
    c = covariance[:, 1, 1] + cameras.eps2d
    determinant = a * c - b * b
    with torch.no_grad():
        # alpha reaches 1/255 at this many standard deviations
        extent = (2 * (opacities[gaussian] / MIN_ALPHA).log()).clamp(min=0)
        extent = extent.sqrt().clamp(max=MAX_EXTENT)
        radii = (extent[:, None] * torch.stack([a, c], -1).sqrt()).ceil()
        size = radii.new_tensor([cameras.width, cameras.height])
        touches = (means2d + radii > 0) & (means2d - radii < size)
        keep = ((determinant > 0) & touches.all(-1)).nonzero()[:, 0]
    inverse = 1 / determinant[keep]
    conics = torch.stack(
        [c[keep] * inverse, -b[keep] * inverse, a[keep] * inverse], dim=-1
    )
    return Splats(
        camera[keep],
        gaussian[keep],
        means2d[keep],
        conics,
        local[keep, 2],
        radii[keep],
    )


@torch.no_grad()
def _candidates(
    means: Tensor, scales: Tensor, opacities: Tensor, cameras: Cameras
) -> tuple[Tensor, Tensor]:
    """Pairs that pass the exact opacity and depth tests and a loose
    frustum test, before any covariance is computed."""
    bright = (opacities >= MIN_ALPHA).nonzero()[:, 0]
    points, reach = means[bright], MAX_EXTENT * scales[bright].amax(-1)
    size = means.new_tensor([cameras.width, cameras.height])
    cams, gaussians = [], []
    for n, (view, K) in enumerate(zip(cameras.viewmats, cameras.Ks)):
        local = points @ view[:3, :3].T + view[:3, 3]
        depth = local[:, 2]
        near = (depth >= cameras.near) & (depth <= cameras.far)
        near = near.nonzero()[:, 0]
        pixel, jacobian = _to_image(local[near], K, cameras)
        # no axis is longer than `reach`, whatever the rotation
        margin = jacobian.norm(dim=-1) * reach[near, None]
        margin = margin + MAX_EXTENT * math.sqrt(cameras.eps2d) + 1
        touches = (pixel + margin > 0) & (pixel - margin < size)
        index = bright[near[touches.all(-1)]]
        gaussians.append(index)
        cams.append(torch.full_like(index, n))
    return torch.cat(cams), torch.cat(gaussians)


def _axes(scales: Tensor, quats: Tensor | None) -> Tensor:
    """R diag(scales), (M, 3, 3)."""
    if quats is None:
        return torch.diag_embed(scales)
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rotation = torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))
    return rotation * scales[:, None]


def _to_image(
    local: Tensor, K: Tensor, cameras: Cameras
) -> tuple[Tensor, Tensor]:
    """Pixel positions (M, 2) and the Jacobian of projection (M, 2, 3).

    Args:
        local (Tensor): camera coordinates, (M, 3).
        K (Tensor): (3, 3), or one each, (M, 3, 3).
        cameras (Cameras): size and model.
    """
    linear, center = K[..., :2, :2], K[..., :2, 2]
    if cameras.model == 'ortho':
        means2d = (linear @ local[:, :2, None])[..., 0] + center
        plane = torch.eye(2, 3, dtype=local.dtype, device=local.device)
        return means2d, (linear @ plane).expand(len(local), 2, 3)
    z = local[:, 2:]
    slopes = local[:, :2] / z
    means2d = (linear @ slopes[..., None])[..., 0] + center
    # far outside the image the linearisation breaks down: hold it at 30 %
    # of half the field of view beyond the border
    focal = linear.diagonal(dim1=-2, dim2=-1)
    size = local.new_tensor([cameras.width, cameras.height])
    ends = torch.stack([-center / focal, (size - center) / focal])
    margin = 0.15 * size / focal.abs()
    slopes = slopes.minimum(ends.amax(0) + margin)
    slopes = slopes.maximum(ends.amin(0) - margin)
    eye = torch.eye(2, dtype=local.dtype, device=local.device)
    jacobian = torch.cat(
        [eye.expand(len(local), 2, 2), -slopes[..., None]], dim=-1
    )
    return means2d, linear @ (jacobian / z[..., None])
