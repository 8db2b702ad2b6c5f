"""Rays through a voxel grid, on the CPU.

Shape letters: R rays, X Y Z voxels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from occsplat.structures import VoxelGrid, same_shape


def cast_rays(
    occupied: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    grid: VoxelGrid,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the first occupied voxel along each ray.

    The voxel traversal of Amanatides and Woo, "A fast voxel traversal
    algorithm for ray tracing", Eurographics 1987, with the conventions
    that RayIoU (SparseOcc, ECCV 2024) inherited from 4D-Occ (Khurana et
    al., CVPR 2023): a surface lies where the ray *leaves* the voxel, and a
    ray that hits nothing ends where it leaves the grid. Where the ray
    crosses several faces at once, the axis of the next voxel is chosen as
    they do: x only if it is strictly first; of y and z, z unless y is
    strictly first.

    Two things differ on purpose. The start voxel is rounded down, whereas
    the original truncates towards zero and so lets origins up to one voxel
    below the grid start in voxel 0. And crossings are computed in double
    precision from the origin, not accumulated step by step.

    Args:
        occupied (Tensor): bool (X, Y, Z).
        origins (Tensor): start points in metres in the grid's frame,
            (R, 3). May lie outside the grid.
        directions (Tensor): (R, 3), of any length but zero.
        grid (VoxelGrid): where the voxels are; its shape is that of
            ``occupied``.

    Returns:
        tuple: ``index``, int64 (R, 3), the first occupied voxel, or the
        last voxel inside the grid when there is none; ``distance`` (R,),
        metres from the origin to where the ray leaves that voxel, in the
        floating type of the rays; ``hit``, bool (R,). A ray that never
        enters the grid has index (0, 0, 0), no hit, and minus one voxel
        length (along x) for a distance.

    Raises:
        ValueError: when shapes disagree, ``occupied`` is not bool, or a
            ray is not finite or has no direction.
    """
    from .numba_rays import cast

    starts, units = _checked('cast_rays', occupied, origins, directions, grid)
    index, distance, hit = cast(
        occupied.detach().cpu().contiguous().numpy(),
        starts,
        units,
        np.array(grid.min),
        np.array(grid.size),
    )
    device = origins.device
    return (
        torch.from_numpy(index).to(device),
        torch.from_numpy(distance).to(device, _float(origins, directions)),
        torch.from_numpy(hit).to(device),
    )


def visible_voxels(
    occupied: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    grid: VoxelGrid,
) -> Tensor:
    """Mark the voxels that rays pass through.

    Each ray marks every voxel of the grid from where it starts, or enters
    the grid, up to and including the first occupied one; without an
    occupied one, up to where it leaves the grid. The traversal is that of
    :func:`cast_rays`, ties included: the last voxel that a ray marks is
    the one that ``cast_rays`` returns.

    Args:
        occupied (Tensor): bool (X, Y, Z).
        origins (Tensor): start points in metres in the grid's frame,
            (R, 3). May lie outside the grid.
        directions (Tensor): (R, 3), of any length but zero.
        grid (VoxelGrid): where the voxels are; its shape is that of
            ``occupied``.

    Returns:
        Tensor: bool (X, Y, Z), on the device of ``occupied``.

    Raises:
        ValueError: when shapes disagree, ``occupied`` is not bool, or a
            ray is not finite or has no direction.
    """
    from .numba_rays import mark

    starts, units = _checked(
        'visible_voxels', occupied, origins, directions, grid
    )
    solid = occupied.detach().cpu().contiguous().numpy()
    seen = np.zeros(solid.shape, np.bool_)
    mark(solid, starts, units, np.array(grid.min), np.array(grid.size), seen)
    return torch.from_numpy(seen).to(occupied.device)


class RayRuns(NamedTuple):
    """What rays meet on their whole way through a grid.

    Attributes:
        runs (Tensor): occupied runs, int64 (R,).
        thickness (Tensor): metres of the ray inside the first of them, 0
            where there is none, (R,).
        ghosts (Tensor): runs behind the first that the truth knows
            nothing of, int64 (R,).
        before (Tensor): metres of the ray in occupied voxels that are
            free in the truth, before its first true surface, (R,).
        behind (Tensor): the same behind that surface, (R,). Where a ray
            meets none in the truth, all are before it.
    """

    runs: Tensor
    thickness: Tensor
    ghosts: Tensor
    before: Tensor
    behind: Tensor


def count_runs(
    occupied: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    grid: VoxelGrid,
    truth: Tensor | None = None,  # (X, Y, Z)
    unknown: Tensor | None = None,  # (X, Y, Z)
) -> RayRuns:
    """Count how often each ray enters something, through the whole grid.

    A run is a maximal stretch of consecutive occupied voxels in the
    traversal of :func:`cast_rays`, ties included. It begins where the ray
    enters its first voxel, or at the origin if that lies inside, and ends
    where the ray leaves its last voxel.

    Args:
        occupied (Tensor): bool (X, Y, Z).
        origins (Tensor): start points in metres in the grid's frame,
            (R, 3). May lie outside the grid.
        directions (Tensor): (R, 3), of any length but zero.
        grid (VoxelGrid): where the voxels are; its shape is that of
            ``occupied``.
        truth (Tensor, optional): bool (X, Y, Z), what is truly occupied;
            ``occupied`` unless given. A run behind the first none of whose
            voxels it marks is a ghost.
        unknown (Tensor, optional): bool (X, Y, Z), voxels of which the
            truth knows nothing. What is occupied there is no false metre,
            and a run with such a voxel no ghost.

    Returns:
        RayRuns: zeros for a ray that never is inside the grid; metres in
        the floating type of the rays.

    Raises:
        ValueError: when shapes disagree, a volume is not bool, or a ray is
            not finite or has no direction.
    """
    from .numba_rays import runs

    starts, units = _checked('count_runs', occupied, origins, directions, grid)
    volumes = [occupied]
    for name, volume, default in (
        ('truth', truth, occupied),
        ('unknown', unknown, torch.zeros_like(occupied)),
    ):
        volume = default if volume is None else volume
        if volume.dtype != torch.bool:
            raise ValueError(
                f'count_runs: {name} must be bool, got {volume.dtype}'
            )
        same_shape(f'count_runs {name}', volume.shape, grid.shape)
        volumes.append(volume)
    solid, true, open_ = (
        v.detach().cpu().contiguous().numpy() for v in volumes
    )
    found = runs(
        solid,
        true,
        open_,
        starts,
        units,
        np.array(grid.min),
        np.array(grid.size),
    )
    counted = RayRuns(*(torch.from_numpy(v).to(origins.device) for v in found))
    dtype = _float(origins, directions)
    return counted._replace(
        thickness=counted.thickness.to(dtype),
        before=counted.before.to(dtype),
        behind=counted.behind.to(dtype),
    )


def _float(origins: Tensor, directions: Tensor) -> torch.dtype:
    """The floating type of rays."""
    dtype = torch.promote_types(origins.dtype, directions.dtype)
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def _checked(
    name: str,
    occupied: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    grid: VoxelGrid,
) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions in float64, (R, 3), once all is well."""
    if occupied.dtype != torch.bool:
        raise ValueError(
            f'{name}: occupied must be bool, got {occupied.dtype}'
        )
    same_shape(f'{name} occupied', occupied.shape, grid.shape)
    same_shape(f'{name} origins', origins.shape, (len(origins), 3))
    same_shape(f'{name} directions', directions.shape, origins.shape)
    starts = origins.detach().cpu().double().contiguous()
    units = directions.detach().cpu().double()
    length = units.norm(dim=-1, keepdim=True)
    units = (units / length).contiguous()
    if not (torch.isfinite(starts).all() and torch.isfinite(units).all()):
        raise ValueError(
            f'{name}: rays need finite origins and finite directions of '
            'non-zero length'
        )
    return starts.numpy(), units.numpy()
