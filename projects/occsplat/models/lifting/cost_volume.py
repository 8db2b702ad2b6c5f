"""Plane sweep: which depth makes two frames of a camera agree?

Shape letters: B batch, N cameras, S stereo channels, D depth bins, H W
stereo map, P cells (= H * W).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from occsplat.structures import CameraRig

from .forward_projection import DepthBins, Landing, frustum_points

#: on top of the cost where the other frame doesn't show the point
UNSEEN_COST = 5.0
#: of BEVDet, counted from the last one
ZERO_CHANNEL = 4
#: metres; what is nearer to the other camera is behind it or inside it
NEAREST = 1e-3


@torch.no_grad()
def cost_volume(
    stereo: Tensor,
    previous: Tensor,
    rig: CameraRig,
    previous_rig: CameraRig,
    bins: DepthBins,
    landing: Landing | None = None,
    unseen_where: Literal['outside', 'zero'] = 'outside',
) -> Tensor:
    """L1 distance between a frame and the one before, at every depth.

    BEVDet's variant of the plane sweep (as in its BEVStereo4D): every cell
    is put at the centre of every depth bin, moved into the earlier frame
    of the same camera, and its features are compared with those found
    there. Motion of the car and all augmentation are in the rigs; things
    that moved themselves are looked for in the wrong place. A point that
    the earlier frame doesn't show is compared with zeros, at an extra cost
    of ``UNSEEN_COST``. Nothing here is differentiated.

    Args:
        stereo (Tensor): (B, N, S, H, W).
        previous (Tensor): of the frame before, (B, N, S, H, W).
        rig (CameraRig): (B, N).
        previous_rig (CameraRig): cameras of the frame before, in the same
            reference frame, (B, N).
        bins (DepthBins): depths to try.
        landing (Landing, optional): where cells and bins stand; with cells
            at the edges the map ends there, and zeros lie around.
        unseen_where (str): which points the earlier frame doesn't show:
            those 'outside' its image, or those where a channel of what is
            read there is 'zero', as BEVDet has it: after a ReLU also
            inside.

    Returns:
        Tensor: costs, small where the depth is right, (B, N, D, H, W).
    """
    views, (height, width) = stereo.shape[:2], stereo.shape[-2:]
    here, there = stereo.flatten(0, 1), previous.flatten(0, 1)
    unseen = here.abs().sum(dim=1) + UNSEEN_COST
    # a cell's points lie on a ray: where it is after one metre, and whence
    landing = landing or Landing()
    metre = DepthBins(start=0.5, stop=1.5, step=1.0)
    origin = rig.cam2ref[..., None, :3, 3]  # (B, N, 1, 3)
    at_edges = landing.cells == 'edges'
    cells = Landing(cells=landing.cells)
    ray = frustum_points(rig, metre, height, width, cells)
    ray = ray.flatten(2, 4) - origin
    cameras = previous_rig[:, :, None]  # each sees its own points alone
    size = ray.new_tensor([rig.width, rig.height]) - int(at_edges)
    costs = []
    # plane by plane: a warped map alone has a hundred megabytes
    for depth in landing.metres(bins, ray.device):
        uv, z = cameras.project(origin + depth * ray)  # (B, N, 1, P, 2)
        place = (2 * uv / size - 1).view(-1, height, width, 2)
        shown = (z.view(-1, height, width) > NEAREST) & (place.abs() <= 1).all(
            dim=-1
        )
        if at_edges:
            # what is behind the camera is nowhere in the image
            behind = z.view(-1, height, width, 1) <= NEAREST
            place = torch.where(behind, -2.0, place)
        found = F.grid_sample(
            there,
            place,
            # half a cell at the rim is image, but beyond cell centres
            padding_mode='zeros' if at_edges else 'border',
            align_corners=at_edges,
        )
        distance = (here - found).abs().sum(dim=1)
        if unseen_where == 'zero':
            zero = found[:, -ZERO_CHANNEL] == 0
            costs.append(distance + UNSEEN_COST * zero)
        else:
            costs.append(torch.where(shown, distance, unseen))
    return torch.stack(costs, dim=1).unflatten(0, views)
