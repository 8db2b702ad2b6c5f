"""The cameras through which metrics look, and the rays of their pixels.

Shape letters: T frames, N cameras, H W pixels, R rays.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from occsplat.structures import CameraRig, VoxelGrid


def sensor_cameras(
    rig: CameraRig, image_size: Sequence[int] | None = None
) -> CameraRig:
    """The cameras of the current frame.

    Args:
        rig (CameraRig): of a sample, (T, N), the current frame first; or
            (N,).
        image_size (sequence, optional): width and height in pixels of the
            images as the cameras took them, before resize and crop; then
            those are meant, whatever the network is fed with.

    Returns:
        CameraRig: (N,), on the CPU, in float64.

    Raises:
        ValueError: when the rig has other dimensions.
    """
    dims = rig.K.dim() - 2
    if dims not in (1, 2):
        raise ValueError(
            'rig: expected cameras (T, N) or (N,), got '
            f'{tuple(rig.K.shape[:-2])}'
        )
    rig = (rig if dims == 1 else rig[0]).to('cpu', torch.float64)
    if image_size is None:
        return rig
    width, height = image_size
    return CameraRig.from_matrices(rig.ref2cam, rig.K, width, height)


def pixel_rays(rig: CameraRig, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Rays through every ``stride``-th pixel, in columns and in rows.

    The first pixel is ``(stride - 1) // 2``, so that a pixel stands for
    those around it; its ray runs through its centre.

    Args:
        rig (CameraRig): (N,).
        stride (int): pixels from one ray to the next.

    Returns:
        tuple: origins, the centres of the cameras, (N, 3), and directions
        (N, H, W, 3), both in the reference frame. A direction is as long
        as it takes to gain one metre of depth: a point of depth z on it is
        ``origin + z * direction``.

    Raises:
        ValueError: when the stride is below one or above a side of the
            images.
    """
    shortest = min(rig.width, rig.height)
    if not 1 <= stride <= shortest:
        raise ValueError(
            f'stride: expected 1 to {shortest}, the shorter side of the '
            f'images, got {stride}'
        )
    first = (stride - 1) // 2
    rows, columns = (
        torch.arange(first, length, stride).to(rig.K) + 0.5
        for length in (rig.height, rig.width)
    )
    v, u = torch.meshgrid(rows, columns, indexing='ij')
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    origins, turn = rig.pixel_rays()
    return origins, torch.einsum('nij,hwj->nhwi', turn, pixels)


def single_rays(rig: CameraRig, stride: int = 1) -> tuple[Tensor, Tensor]:
    """The rays of ``pixel_rays`` in a row, camera by camera.

    Args:
        rig (CameraRig): (N,).
        stride (int): pixels from one ray to the next.

    Returns:
        tuple: where they start and their directions, (R, 3) each, in the
        reference frame.

    Raises:
        ValueError: as ``pixel_rays``.
    """
    origins, directions = pixel_rays(rig, stride)
    starts = origins[:, None, None].expand_as(directions)
    return starts.reshape(-1, 3), directions.reshape(-1, 3)


def exit_depth(rig: CameraRig, grid: VoxelGrid) -> Tensor:
    """Depth at which the ray of each pixel leaves a grid.

    Args:
        rig (CameraRig): (N,).
        grid (VoxelGrid): the grid.

    Returns:
        Tensor: the camera's z in metres, (N, H, W); not negative, and
        meaningless for rays that never are inside the grid.
    """
    origins, directions = pixel_rays(rig)
    _, leave = grid.crossing(origins[:, None, None], directions)
    return leave.clamp(min=0)


def images_of(image_size: Sequence[int] | None) -> str:
    """Words for a result line: which images are meant."""
    if image_size is None:
        return "network's images"
    return f'{image_size[0]}x{image_size[1]} sensor images'
