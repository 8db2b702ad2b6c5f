"""Forward projection: pixels and their depths into the volume.

Shape letters: B batch, N cameras, C channels, D depth bins, H W feature
map, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from occsplat.ops import voxel_pooling
from occsplat.structures import CameraRig, VoxelGrid


@dataclass(frozen=True)
class DepthBins:
    """Depth in steps: bin i covers [start + i*step, start + (i+1)*step).

    Attributes:
        start, stop, step: metres, camera z.
    """

    start: float = 2.0
    stop: float = 42.0
    step: float = 0.5

    @property
    def count(self) -> int:
        """D."""
        return round((self.stop - self.start) / self.step)

    def centers(self, device: torch.device) -> Tensor:
        """The middle of each bin in metres, (D,)."""
        bins = torch.arange(self.count, device=device, dtype=torch.float32)
        return self.start + (bins + 0.5) * self.step

    def index(self, depth: Tensor) -> Tensor:
        """The bin of each depth, clipped to the first and last, int64."""
        index = torch.floor((depth - self.start) / self.step).long()
        return index.clamp(0, self.count - 1)


def frustum_points(
    rig: CameraRig, bins: DepthBins, height: int, width: int
) -> Tensor:
    """Where each feature cell lies at each depth.

    Args:
        rig (CameraRig): (B, N).
        bins (DepthBins): depths to place cells at.
        height, width (int): feature map size; cells divide the image
            evenly and stand at their centre.

    Returns:
        Tensor: metres in the reference frame, (B, N, D, H, W, 3).
    """
    device = rig.K.device
    u = (torch.arange(width, device=device) + 0.5) * rig.width / width
    v = (torch.arange(height, device=device) + 0.5) * rig.height / height
    depth = bins.centers(device)
    d, v, u = torch.meshgrid(depth, v, u, indexing='ij')
    pixels = torch.stack([u * d, v * d, d], dim=-1)  # (D, H, W, 3)
    # camera = K^-1 pixels, then reference = R camera + t
    to_ref = rig.cam2ref
    transform = to_ref[..., :3, :3] @ torch.linalg.inv(rig.image_K)
    points = torch.einsum('bnij,dhwj->bndhwi', transform, pixels)
    return points + to_ref[..., None, None, None, :3, 3]


def forward_projection(
    context: Tensor,
    depth: Tensor,
    rig: CameraRig,
    bins: DepthBins,
    grid: VoxelGrid,
) -> Tensor:
    """Lift-splat: context weighted by depth probability, summed in voxels.

    Args:
        context (Tensor): (B, N, C, H, W).
        depth (Tensor): probabilities, (B, N, D, H, W).
        rig (CameraRig): (B, N).
        bins (DepthBins): what the D probabilities belong to.
        grid (VoxelGrid): the volume.

    Returns:
        Tensor: (B, C, X, Y, Z).
    """
    points = frustum_points(rig, bins, *context.shape[-2:])
    volumes = []
    for b in range(context.shape[0]):
        volume = context.new_zeros(context.shape[2], *grid.shape)
        # a camera at a time: the D-fold copy of its features is large
        for n in range(context.shape[1]):
            weighted = torch.einsum(
                'chw,dhw->dhwc', context[b, n], depth[b, n]
            )
            volume = volume + voxel_pooling(
                weighted.flatten(0, 2), points[b, n].flatten(0, 2), grid
            )
        volumes.append(volume)
    return torch.stack(volumes)
