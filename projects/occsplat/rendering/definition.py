"""What an image is: the numbers that every backend goes by.

Backends differ in how they compute, and not in what: which splats count,
how far they reach, when a pixel is full.

Shape letters: G Gaussians, V cameras.
"""

from __future__ import annotations

import torch
from torch import Tensor

from occsplat.structures import Cameras, transform_points

#: a splat leaves no trace in a pixel below this alpha
MIN_ALPHA = 1 / 255
#: a pixel is opaque before its transmittance falls to this
MIN_LEFT = 1e-4
#: standard deviations after which opacity 1 has fallen to MIN_ALPHA
REACH = 3.33
#: pixels added to an extent, so that rounding never loses a pixel
MARGIN = 0.01
#: of the image's size: so far beyond its border slopes may be in a Jacobian
SLOPE_MARGIN = 0.15
#: square pixels added to a splat's variances unless told otherwise
EPS2D = 0.3


def may_see(
    means: Tensor, scale: float, cameras: Cameras, near: float = 0.1
) -> Tensor:
    """Whether balls can reach any of the images.

    Conservative: a Gaussian that is left out is in no image, one that is
    not may be in none.

    Args:
        means (Tensor): centres in metres, (G, 3).
        scale (float): standard deviation of all of them, metres.
        cameras (Cameras): V of them.
        near (float): depth in metres at which renders begin.

    Returns:
        Tensor: bool (G,).
    """
    seen = torch.zeros(len(means), dtype=torch.bool, device=means.device)
    size = means.new_tensor([cameras.width, cameras.height])
    for view, K in zip(cameras.viewmats, cameras.Ks):
        local = transform_points(view, means)
        z = local[:, 2:]
        front = z[:, 0] >= near
        focal = K[:2, :2].norm(dim=1)
        if cameras.ortho:
            per_depth = torch.ones_like(z)
            pixels = local[:, :2] @ K[:2, :2].T + K[:2, 2]
            stretch = focal
        else:
            per_depth = 1 / z.clamp(min=near)
            pixels = local[:, :2] * per_depth @ K[:2, :2].T + K[:2, 2]
            # the Jacobian's slopes are clamped to the image and more
            slope = K[:2, 2].abs().maximum(size) + SLOPE_MARGIN * size
            stretch = focal * (1 + slope / focal)
        # a volume augmentation may have scaled the reference frame
        zoom = view[:3, :3].norm(dim=1).max()
        spread = scale * zoom * per_depth * stretch
        margin = REACH * (spread**2 + EPS2D).sqrt() + 1
        outside = (-pixels).maximum(pixels - size)
        seen |= front & (outside <= margin).all(dim=1)
    return seen
