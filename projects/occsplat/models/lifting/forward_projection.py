"""Forward projection: pixels and their depths into the volume.

Shape letters: B batch, N cameras, C channels, D depth bins, H W feature
map, X Y Z voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Literal

import torch
from torch import Tensor

from occsplat.ops import voxel_pooling
from occsplat.structures import CameraRig, VoxelGrid, inverse

#: what a mean of context times probability is multiplied with
MEAN_SCALE = 10.0


@dataclass(frozen=True)
class DepthBins:
    """Depth in steps: bin i covers [start + i*step, start + (i+1)*step).

    Attributes:
        start, stop, step: metres, camera z.

    Raises:
        ValueError: when steps do not fill the range.
    """

    start: float = 2.0
    stop: float = 42.0
    step: float = 0.5

    def __post_init__(self) -> None:
        extent = self.stop - self.start
        if not (self.step > 0 and extent > 0) or not math.isclose(
            self.count * self.step, extent, rel_tol=1e-6
        ):
            raise ValueError(
                'DepthBins expects start < stop and a step that divides '
                f'their distance, got {self}'
            )

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


@dataclass(frozen=True)
class Landing:
    """By which conventions feature cells land in voxels.

    The defaults are right: a cell stands for the pixels that it covers, a
    bin for its depths. The others are those of published networks of
    BEVDet's family, which have learned to live with them.

    Attributes:
        cells: where a cell of the feature map stands, at the 'centers' of
            the even parts that divide the image, or at 'edges': the first
            cell at pixel 0, the last one at the last pixel.
        depths: whether a bin stands at the 'centers' of its depths or at
            their 'starts'.
        voxels: whether a point belongs to the voxel around it ('floor'),
            or an index is cut towards zero ('truncate'): points up to one
            voxel below the grid fall into its first layer.
    """

    cells: Literal['centers', 'edges'] = 'centers'
    depths: Literal['centers', 'starts'] = 'centers'
    voxels: Literal['floor', 'truncate'] = 'floor'

    def pixels(self, count: int, size: int, device: torch.device) -> Tensor:
        """Where ``count`` cells along an image of ``size`` pixels stand."""
        if self.cells == 'edges':
            return torch.linspace(0, size - 1, count, device=device)
        return (torch.arange(count, device=device) + 0.5) * size / count

    def metres(self, bins: DepthBins, device: torch.device) -> Tensor:
        """Where the bins stand, (D,)."""
        depth = bins.centers(device)
        return depth - bins.step / 2 if self.depths == 'starts' else depth

    def locate(self, points: Tensor, grid: VoxelGrid) -> tuple[Tensor, Tensor]:
        """As ``VoxelGrid.locate``."""
        if self.voxels == 'floor':
            return grid.locate(points)
        low, size = points.new_tensor(grid.min), points.new_tensor(grid.size)
        index = ((points - low) / size).long()
        limit = index.new_tensor(grid.shape)
        return index, ((index >= 0) & (index < limit)).all(dim=-1)


def frustum_points(
    rig: CameraRig,
    bins: DepthBins,
    height: int,
    width: int,
    landing: Landing | None = None,
) -> Tensor:
    """Where each feature cell lies at each depth.

    Args:
        rig (CameraRig): (B, N).
        bins (DepthBins): depths to place cells at.
        height, width (int): feature map size; cells divide the image
            evenly.
        landing (Landing, optional): where cells and bins stand, at their
            centres by default.

    Returns:
        Tensor: metres in the reference frame, (B, N, D, H, W, 3).
    """
    device = rig.K.device
    landing = landing or Landing()
    u = landing.pixels(width, rig.width, device)
    v = landing.pixels(height, rig.height, device)
    depth = landing.metres(bins, device)
    d, v, u = torch.meshgrid(depth, v, u, indexing='ij')
    pixels = torch.stack([u * d, v * d, d], dim=-1)  # (D, H, W, 3)
    # camera = K^-1 pixels, then reference = R camera + t
    to_ref = rig.cam2ref
    transform = to_ref[..., :3, :3] @ inverse(rig.image_K)
    points = torch.einsum('bnij,dhwj->bndhwi', transform, pixels)
    return points + to_ref[..., None, None, None, :3, 3]


def forward_projection(
    context: Tensor,
    depth: Tensor,
    rig: CameraRig,
    bins: DepthBins,
    grid: VoxelGrid,
    landing: Landing | None = None,
) -> Tensor:
    """Lift-splat: context weighted by depth probability, summed in voxels.

    Args:
        context (Tensor): (B, N, C, H, W).
        depth (Tensor): probabilities, (B, N, D, H, W).
        rig (CameraRig): (B, N).
        bins (DepthBins): what the D probabilities belong to.
        grid (VoxelGrid): the volume.
        landing (Landing, optional): other conventions than the default's.

    Returns:
        Tensor: (B, C, X, Y, Z).
    """
    inside, voxel = _landed(depth, rig, bins, grid, landing or Landing())
    return _splat(context, depth, inside, voxel, grid)


def mean_projection(
    context: Tensor,
    depth: Tensor,
    rig: CameraRig,
    bins: DepthBins,
    grid: VoxelGrid,
    landing: Landing | None = None,
) -> Tensor:
    """Lift-splat with a mean in place of the sum, and what a mean forgets.

    A voxel beside a camera takes hundreds of frustum points, one 30 m away
    takes one or none. Their sum says above all how near the camera is,
    which is alike in all frames, and drowns what the images say. Here it is
    divided by the number of points, and times ``MEAN_SCALE``: about one bin
    in so many is likely. Two more channels keep what the division loses:
    how much depth probability fell into the voxel (likewise a mean), and
    the logarithm of one plus the number of points.

    Args:
        context, depth, rig, bins, grid, landing: as for
            ``forward_projection``.

    Returns:
        Tensor: (B, C + 2, X, Y, Z).
    """
    inside, voxel = _landed(depth, rig, bins, grid, landing or Landing())
    ones = torch.ones_like(context[:, :, :1])
    volume = _splat(
        torch.cat([context, ones], dim=2), depth, inside, voxel, grid
    )
    total = len(context) * grid.num_voxels
    count = _points_in(voxel, total).view(-1, 1, *grid.shape)
    mean = volume * (MEAN_SCALE / count.clamp(min=1))
    return torch.cat([mean, count.to(mean).log1p()], dim=1)


#: of one frame's pixels; ``pooling`` of the lifters
Projection = Callable[
    [Tensor, Tensor, CameraRig, DepthBins, VoxelGrid, 'Landing | None'],
    Tensor,
]
POOLING: dict[str, tuple[Projection, int]] = dict(
    # and how many channels it adds to the context's
    sum=(forward_projection, 0),
    mean=(mean_projection, 2),
)


def projection(pooling: str, channels: int) -> tuple[Projection, int]:
    """The projection of a name, and the channels of what it projects.

    Args:
        pooling (str): 'sum' or 'mean'.
        channels (int): of the volume.

    Raises:
        ValueError: when nothing would be left for the context.
    """
    project, added = POOLING[pooling]
    if channels <= added:
        raise ValueError(
            f'pooling={pooling!r} needs channels of at least {added + 1}, '
            f'got channels={channels}'
        )
    return project, channels - added


def _landed(
    depth: Tensor,
    rig: CameraRig,
    bins: DepthBins,
    grid: VoxelGrid,
    landing: Landing,
) -> tuple[Tensor, Tensor]:
    """Where the frustum points fall.

    Returns:
        tuple: whether each is inside the grid, bool (B, N, D, H, W), and
        the voxel of those that are, counted on from sample to sample, (P,).
    """
    with torch.no_grad():  # geometry has nothing to learn
        points = frustum_points(rig, bins, *depth.shape[-2:], landing)
        index, inside = landing.locate(points, grid)
        sample = torch.arange(len(depth), device=points.device)
        voxel = sample.view(-1, 1, 1, 1, 1)
        for axis, count in enumerate(grid.shape):
            voxel = voxel * count + index[..., axis]
        return inside, voxel[inside]


def _points_in(voxel: Tensor, total: int) -> Tensor:
    """How many of the points (P,) fall into each of so many voxels."""
    return torch.bincount(voxel, minlength=total)


def _splat(
    context: Tensor,
    depth: Tensor,
    inside: Tensor,
    voxel: Tensor,
    grid: VoxelGrid,
) -> Tensor:
    """Sum context times probability over the points that fall inside."""
    batch, cameras, channels, height, width = context.shape
    cell = torch.arange(
        batch * cameras * height * width, device=context.device
    ).view(batch, cameras, 1, height, width)
    volume = voxel_pooling(
        context.movedim(2, -1).reshape(-1, channels),
        depth[inside],
        cell.expand(depth.shape)[inside],
        voxel,
        batch * grid.num_voxels,
    )
    volume = volume.view(batch, *grid.shape, channels)
    return volume.movedim(-1, 1).contiguous()
