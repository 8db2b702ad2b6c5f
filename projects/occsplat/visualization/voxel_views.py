"""A volume seen by cameras: ray-cast, shaded voxel cubes.

Shape letters: N cameras, H W image, R rays, X Y Z voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

import cv2
import numpy as np
import torch

from occsplat.ops import cast_rays
from occsplat.structures import CameraRig, LabelSpec, VoxelGrid, same_shape

from .colors import BACKGROUND, occupied_mask, volume_colors
from .heading import from_forward_left
from .shading import shade

#: metres in front of the camera in which voxels are not drawn, so that a
#: wrong voxel around the lens does not hide the picture
NEAR = 0.5


@dataclass
class VoxelHits:
    """What the rays through the pixel centres of N cameras hit first.

    Attributes:
        index: voxel, int64 (N, H, W, 3); zeros where nothing was hit.
        depth: camera z in metres of the point where the ray enters the
            voxel, 0 where nothing was hit, float64 (N, H, W).
        face: axis (0 x, 1 y, 2 z) of the face that the ray enters
            through, int64 (N, H, W); 0 where nothing was hit.
        side: which of the two faces of that axis: -1 the lower, 1 the
            upper, int64 (N, H, W); 0 where nothing was hit.
        point: where it enters, in voxels from the lowest corner of the
            grid, float64 (N, H, W, 3); 0 where nothing was hit.
    """

    index: np.ndarray
    depth: np.ndarray
    face: np.ndarray
    side: np.ndarray
    point: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Pixels that see a voxel, bool (N, H, W)."""
        return self.depth > 0

    def pick(self, volume: np.ndarray, empty: int | tuple) -> np.ndarray:
        """The volume's value at each pixel, ``empty`` where none is.

        Args:
            volume: (X, Y, Z, ...), for example class ids.
            empty: value for pixels that hit nothing.

        Returns:
            ndarray: (N, H, W, ...) in the volume's type.
        """
        x, y, z = np.moveaxis(self.index, -1, 0)
        values = volume[x, y, z]
        values[~self.mask] = empty
        return values


def cast_views(
    occ: np.ndarray,  # (X, Y, Z)
    grid: VoxelGrid,
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
) -> VoxelHits:
    """Cast a ray through every pixel centre of every camera.

    Args:
        occ: class ids.
        grid: where the voxels are.
        spec: names the free and the ignored id.
        rig: N cameras in the grid's frame, no further batch dimension.

    Returns:
        VoxelHits: of (N, H, W) pixels.

    Raises:
        ValueError: when the volume does not fit the grid or the rig has
            other dimensions than (N,).
    """
    same_shape('occupancy', occ.shape, grid.shape)
    origins, directions = _pixel_rays(rig)
    starts = origins + NEAR * directions
    index, _, hit = cast_rays(
        torch.from_numpy(occupied_mask(occ, spec)),
        torch.from_numpy(starts),
        torch.from_numpy(directions),
        grid,
    )
    # what hits nothing, such as the sky, costs no more than its ray
    seen = np.flatnonzero(hit.numpy())
    index = index.numpy()[seen]
    origins, directions = origins[seen], directions[seen]
    low, size = np.array(grid.min), np.array(grid.size)
    # the entry face: the last of the three near planes that a ray crosses
    ahead = directions > 0
    plane = low + (index + ~ahead) * size
    with np.errstate(divide='ignore', invalid='ignore'):
        along = (plane - origins) / directions
    along[directions == 0] = -np.inf
    face = along.argmax(axis=-1)
    # directions have z = 1 in the camera's frame: steps along are depths
    depth = np.maximum(np.take_along_axis(along, face[:, None], 1)[:, 0], NEAR)
    point = (origins + depth[:, None] * directions - low) / size
    side = np.where(np.take_along_axis(ahead, face[:, None], 1)[:, 0], -1, 1)

    def spread(values: np.ndarray) -> np.ndarray:
        shape = (rig.num_cameras, rig.height, rig.width)
        whole = np.zeros((math.prod(shape), *values.shape[1:]), values.dtype)
        whole[seen] = values
        return whole.reshape(*shape, *values.shape[1:])

    return VoxelHits(*map(spread, (index, depth, face, side, point)))


def render_occupancy(
    occ: np.ndarray,  # (X, Y, Z)
    grid: VoxelGrid,
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
    colors: np.ndarray | None = None,  # (X, Y, Z, 3)
    supersample: int = 2,
) -> np.ndarray:
    """Images of a volume's voxels as shaded cubes.

    Args:
        occ: class ids.
        grid: where the voxels are.
        spec: free id and palette.
        rig: N cameras; the images have its size.
        colors: RGB of each voxel instead of its class colour, such as
            ``flow_colors``.
        supersample: rays per pixel and direction.

    Returns:
        ndarray: RGB, uint8 (N, H, W, 3).
    """
    if colors is None:
        colors = volume_colors(occ, spec)
    return render_colors(occ, grid, spec, rig, [colors], supersample)[0]


def render_colors(
    occ: np.ndarray,  # (X, Y, Z)
    grid: VoxelGrid,
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
    colorings: Sequence[np.ndarray],  # M of (X, Y, Z, 3)
    supersample: int = 2,
) -> np.ndarray:
    """:func:`render_occupancy` in several colourings, of the same rays.

    Returns:
        ndarray: RGB, uint8 (M, N, H, W, 3).
    """
    for colors in colorings:
        same_shape('voxel colors', colors.shape, (*occ.shape, 3))
    fine = rig.scaled(supersample)
    occupied = occupied_mask(occ, spec)
    size = (rig.width, rig.height)
    images = np.empty((len(colorings), rig.num_cameras, *size[::-1], 3), 'u1')
    # one camera at a time: the rays of all of them take much memory
    for n in range(rig.num_cameras):
        hits = cast_views(occ, grid, spec, fine[n : n + 1])
        focal = float(fine.image_K[n, 0, 0].abs())
        for m, colors in enumerate(colorings):
            picture = shade(
                hits, hits.pick(colors, BACKGROUND), occupied, grid, focal
            )
            images[m, n] = cv2.resize(
                picture[0], size, interpolation=cv2.INTER_AREA
            )
    return images


def chase_rig(
    width: int = 640,
    height: int = 400,
    eye: tuple[float, float, float] = (-26.0, 9.0, 19.0),
    target: tuple[float, float, float] = (6.0, 0.0, -1.0),
    fov: float = 62.0,
    frame: str = 'ego',
) -> CameraRig:
    """One virtual camera behind, left of and above the ego vehicle.

    Args:
        width: pixels.
        height: pixels.
        eye: where it stands, metres ahead, left and up of the origin.
        target: what it looks at, likewise.
        fov: horizontal field of view in degrees.
        frame: the reference frame, see ``LabelSpec.frame``.

    Returns:
        CameraRig: (1,), float64.

    Raises:
        ValueError: when it would look straight up or down.
    """
    start = from_forward_left(np.array(eye, np.float64), frame)
    end = from_forward_left(np.array(target, np.float64), frame)
    forward = end - start
    right = np.cross(forward, (0.0, 0.0, 1.0))
    if np.linalg.norm(right) < 1e-6:
        raise ValueError(
            f'a camera at {eye} that looks at {target} has no horizon: it '
            'must not look straight up or down'
        )
    forward /= np.linalg.norm(forward)
    right /= np.linalg.norm(right)
    ref2cam = np.eye(4)
    ref2cam[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    ref2cam[:3, 3] = -ref2cam[:3, :3] @ start
    focal = width / 2 / np.tan(np.radians(fov) / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraRig.from_matrices(
        torch.from_numpy(ref2cam)[None],
        torch.from_numpy(K)[None],
        width,
        height,
    )


def _pixel_rays(
    rig: CameraRig,  # (N,)
) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions, (N*H*W, 3) each; directions have camera z 1."""
    same_shape('camera matrices', rig.K.shape, (rig.num_cameras, 3, 3))
    rig = rig.to('cpu', torch.float64)
    u, v = np.meshgrid(np.arange(rig.width) + 0.5, np.arange(rig.height) + 0.5)
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3)
    cam2ref = rig.cam2ref.numpy()
    rays = cam2ref[:, :3, :3] @ np.linalg.inv(rig.image_K.numpy())
    directions = pixels @ rays.transpose(0, 2, 1)
    origins = np.broadcast_to(cam2ref[:, None, :3, 3], directions.shape)
    return origins.reshape(-1, 3), directions.reshape(-1, 3)
