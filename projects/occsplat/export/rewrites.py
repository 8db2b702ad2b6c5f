"""The network's geometry with shapes that no number decides.

Points that leave the grid and queries that no camera sees are left out as
the network runs: how many are left is known when the cameras are. A graph
has its shapes from the start. So either the cameras are known as well, and
what follows from them alone is part of the graph as numbers; or nothing is
left out, and what doesn't count goes where nobody reads it. Both give what
the network gives, up to the order of sums.

Shape letters: B batch, N cameras, C channels, D depth bins, H W feature map,
P points, Q queries, A anchors, X Y Z voxels.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator
from unittest.mock import patch

import torch
from torch import Tensor

from occsplat.models.lifting import (
    backward_projection,
    forward_projection,
    seen_queries,
    surroundocc_lifter,
    tpv_lifter,
)
from occsplat.models.lifting.forward_projection import DepthBins, Landing
from occsplat.models.lifting.seen_queries import SeenQueries
from occsplat.structures import CameraRig, VoxelGrid, camera_rig

# the network's own, which the names below stand in for
_find_views = seen_queries.find_views
_inverse = camera_rig.inverse
_landed = forward_projection._landed
_points_in = forward_projection._points_in


class Recorded:
    """A function that is called in the first run and then repeats itself.

    Args:
        function: of nothing that differs from run to run.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.answers: list[Any] = []
        self.turn: int | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's answer, or that of the first run."""
        if self.turn is None:
            self.answers.append(self.function(*args, **kwargs))
            return self.answers[-1]
        self.turn += 1
        return self.answers[self.turn - 1]


class Geometry:
    """What stands in for the network's geometry.

    Args:
        fixed: whether all runs have the first run's cameras.
    """

    def __init__(self, fixed: bool) -> None:
        self.functions: list[Callable[..., Any]] = [
            all_points, points_in, all_views, affine_inverse
        ]  # fmt: skip
        if fixed:
            functions = (points_inside, _points_in, _find_views, _inverse)
            self.functions = [Recorded(function) for function in functions]

    @contextmanager
    def run(self) -> Iterator[None]:
        """Within, the network runs once, with this geometry."""
        landed, count, views, inverse = self.functions
        rules: list[tuple[Any, str, Callable[..., Any]]] = [
            (forward_projection, '_landed', landed),
            (forward_projection, '_points_in', count),
            (forward_projection, '_splat', splat),
            (forward_projection, 'inverse', inverse),
            (camera_rig, 'inverse', inverse),
        ]
        for module in (backward_projection, surroundocc_lifter, tpv_lifter):
            rules.append((module, 'find_views', views))
        with ExitStack() as stack:
            for module, name, function in rules:
                stack.enter_context(patch.object(module, name, function))
            yield
        for function in self.functions:
            if isinstance(function, Recorded):
                function.turn = 0


def points_inside(
    depth: Tensor,
    rig: CameraRig,
    bins: DepthBins,
    grid: VoxelGrid,
    landing: Landing,
) -> tuple[Tensor, Tensor]:
    """The frustum points that fall into the grid.

    Returns:
        tuple: which ones, of all B * N * D * H * W, and the voxel of each,
        int64 (P,).
    """
    inside, voxel = _landed(depth, rig, bins, grid, landing)
    return inside.flatten().nonzero()[:, 0], voxel


def all_points(
    depth: Tensor,
    rig: CameraRig,
    bins: DepthBins,
    grid: VoxelGrid,
    landing: Landing,
) -> tuple[Tensor, Tensor]:
    """All frustum points, those beside the grid in a voxel behind the last.

    Returns:
        tuple: as ``points_inside``, of one sample.
    """
    points = forward_projection.frustum_points(
        rig, bins, *depth.shape[-2:], landing
    )
    index, inside = landing.locate(points, grid)
    voxel = torch.zeros_like(index[..., 0])
    for axis, count in enumerate(grid.shape):
        voxel = voxel * count + index[..., axis]
    voxel = torch.where(inside, voxel, grid.num_voxels).flatten()
    return torch.arange(len(voxel), device=voxel.device), voxel


def points_in(voxel: Tensor, total: int) -> Tensor:
    """How many of the points (P,) fall into each of so many voxels."""
    ones = torch.ones_like(voxel)
    counts = ones.new_zeros(total + 1)
    return counts.index_put((voxel,), ones, accumulate=True)[:total]


def splat(
    context: Tensor,
    depth: Tensor,
    rows: Tensor,
    voxel: Tensor,
    grid: VoxelGrid,
) -> Tensor:
    """Context times probability of the points, summed in their voxels.

    Args:
        context (Tensor): (B, N, C, H, W).
        depth (Tensor): probabilities, (B, N, D, H, W).
        rows, voxel (Tensor): see ``points_inside``.
        grid (VoxelGrid): the volume.

    Returns:
        Tensor: (B, C, X, Y, Z).
    """
    batch, channels = len(context), context.shape[2]
    bins, pixels = depth.shape[2], depth.shape[3] * depth.shape[4]
    # points run over cameras, depths, pixels; cells have no depths
    cell = rows // (bins * pixels) * pixels + rows % pixels
    features = context.movedim(2, -1).reshape(-1, channels)
    values = features[cell] * depth.flatten()[rows][:, None]
    total = batch * grid.num_voxels
    volume = features.new_zeros(total + 1, channels)
    volume = volume.index_put((voxel,), values, accumulate=True)[:total]
    volume = volume.view(batch, *grid.shape, channels)
    return volume.movedim(-1, 1).contiguous()


def all_views(rig: CameraRig, anchors: Tensor) -> SeenQueries:
    """As ``find_views``, but each camera lists all queries."""
    points = anchors.flatten(0, 1).expand(rig.K.shape[0], -1, -1)
    uv, depth = rig.project(points)
    uv = uv.unflatten(2, anchors.shape[:2])  # (B, N, Q, A, 2)
    uv = uv / uv.new_tensor([rig.width, rig.height])
    depth = depth.unflatten(2, anchors.shape[:2])
    visible = (depth > 1e-5) & ((uv > 0) & (uv < 1)).all(-1)
    hit = visible.any(-1)  # (B, N, Q)
    index = torch.arange(hit.shape[2], device=hit.device).expand(hit.shape)
    return SeenQueries(
        index, uv, depth, visible, hit.long().sum(1).clamp(min=1)
    )


def affine_inverse(matrices: Tensor) -> Tensor:
    """Of matrices (..., n, n), n of 3 or 4, of products and one division.

    Those of 4 rows are affine: (0, 0, 0, 1) is the last one.
    """
    linear = matrices[..., :3, :3]
    a, b, c = linear.unbind(-2)
    rows = torch.stack([cross(b, c), cross(c, a), cross(a, b)], dim=-1)
    solved = rows / (a * rows[..., 0]).sum(-1)[..., None, None]
    if matrices.shape[-1] == 3:
        return solved
    shift = -(solved @ matrices[..., :3, 3:])
    return torch.cat(
        [torch.cat([solved, shift], dim=-1), matrices[..., 3:, :]], dim=-2
    )


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Of vectors (..., 3)."""
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.stack(
        [ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=-1
    )
