"""Masks of the voxels that cameras see, for labels that ship none.

What a camera sees is a matter of rays: a ray from its centre, inside its
image, sees every voxel that it passes, free ones too, up to and including
the first occupied one. Which rays? Rays through pixels thin out with the
distance and with the angle: at 40 m the road in front of a voxel's top face
leaves half a row of a 1600 x 900 image for it, so that one ray per pixel
misses many such voxels, and spends nearly all rays on what is close. Here
the rays run to the voxels instead, four to each face between an occupied
and a free voxel, which an occupied voxel is seen through, and one to the
centre of each free voxel. On MiniTown, measured against rays at every half
pixel of 1600 x 900, they find 98 % of the occupied and 99.6 % of the free
voxels in a hundredth of the time; a ray through every pixel finds 86 % and
99.7 %. They find 3 % more occupied voxels, which lie between the half
pixels. What they miss are slivers: voxels that others hide but for a corner.
No voxel is marked that no ray passes.

Shape letters: X Y Z voxels, P points.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from occsplat.ops import visible_voxels
from occsplat.structures import (
    CameraRig,
    VoxelGrid,
    check_writable,
    whole_file,
)

from .calibration import check_image_size
from .errors import DataError
from .images import image_size
from .info_files import read_infos, records_of, write_infos
from .label_files import checked_mask, read_npz
from .layout import info_file
from .sets.openocc import MASK, MASK_FILE, SPEC
from .transforms import LoadOccLabels
from .workers import each_frame

KEY = MASK_FILE.key


def create_visibility(
    root: str | Path,
    split: str,
    workers: int = 1,
    progress: bool = True,
) -> int:
    """Write the OpenOcc masks that a split lacks, and note them in its infos.

    Whole files are left alone, so that an interrupted run can go on;
    damaged ones are made anew. All cameras of a key frame's info entry
    see, whatever their number and images.

    Args:
        root: data root with info files, labels and images, of which only
            the sizes are read.
        split: 'train' or 'val'.
        workers: number of processes.
        progress: whether to show a progress bar.

    Returns:
        int: files written.

    Raises:
        FileNotFoundError: when the info file, a label file or an image is
            missing.
        DataError: when one of them can't be used or written, or the
            cameras of a frame see no voxel.
    """
    infos, path = read_infos(root, split), Path(root) / info_file(split)
    records = records_of(infos, path, root, SPEC.frame, cameras=None)
    for info, record in zip(infos['data_list'], records):
        info[KEY] = MASK_FILE.path(
            record['scene_name'],
            record['token'],
            os.path.basename(record['lidar_path']),
        )
        record[KEY] = str(Path(root) / info[KEY])
        if not record['cameras']:
            raise DataError(
                f'{path}: key frame {record["token"]!r} has no camera that '
                'could see anything'
            )
    for target in (path, Path(records[0][KEY])):
        check_writable(target.parent)
    written = sum(each_frame(write_mask, records, workers, progress))
    # last: the infos name no mask that may not be there
    write_infos(path, infos)
    return written


def write_mask(record: dict[str, Any]) -> bool:
    """Write the mask of a key frame unless there is a whole one.

    Args:
        record: of the key frame, see ``frame_record``.

    Returns:
        bool: whether there was need to.
    """
    path = Path(record[KEY])
    if path.exists():
        try:
            mask = read_npz(str(path), {MASK: SPEC.grid.shape})
            checked_mask(mask[MASK], MASK, str(path))
            return False
        except DataError as error:
            print_log(f'making it anew: {error}', logger='current')
    occ = LoadOccLabels(SPEC)({**record, KEY: None})['gt_occ']
    occupied = SPEC.is_occupied(occ)
    seen = seen_by_rigs(
        torch.from_numpy(occupied), record_cameras(record), SPEC.grid
    )
    if not seen.any():
        raise DataError(
            f'key frame {record["token"]!r}: no camera sees any voxel; '
            "expected cam2img and lidar2cam of the frame's cameras in its "
            'info entry'
        )
    with whole_file(path) as part, open(part, 'wb') as file:
        np.savez_compressed(file, **{MASK: seen.numpy()})
    return True


def record_cameras(record: dict[str, Any]) -> list[CameraRig]:
    """The cameras of a key frame, one by one, as they took their images.

    Args:
        record: of the key frame, see ``frame_record``.

    Returns:
        list: a rig of one camera for each, in float64; images of
        different cameras may have different sizes.

    Raises:
        FileNotFoundError: when an image is missing.
        DataError: when an image can't be read, or its camera's matrix is
            of images of another size.
    """
    rigs = []
    for camera, (path, ref2cam, cam2img) in enumerate(
        zip(record['img_paths'], record['ref2cam'], record['cam2img'])
    ):
        width, height = image_size(path)
        check_image_size(record, camera, (width, height))
        matrices = torch.from_numpy(ref2cam), torch.from_numpy(cam2img)
        rigs.append(
            CameraRig.from_matrices(
                *(matrix[None] for matrix in matrices), width, height
            )
        )
    return rigs


def seen_by_rigs(
    occupied: Tensor,  # (X, Y, Z)
    rigs: Sequence[CameraRig],
    grid: VoxelGrid,
) -> Tensor:
    """The voxels that cameras see; see the top of the file.

    Args:
        occupied (Tensor): bool, where rays end. What is at the very
            place of a camera blocks nothing: it could not look out.
        rigs (Sequence[CameraRig]): of one camera each, (1,), float64.
        grid (VoxelGrid): where the voxels are.

    Returns:
        Tensor: bool (X, Y, Z).

    Raises:
        ValueError: when shapes disagree.
    """
    targets = _targets(occupied, grid)
    seen = torch.zeros_like(occupied)
    for rig in rigs:
        uv, depth = (x[0] for x in rig.project(targets))
        size = uv.new_tensor([rig.width, rig.height])
        inside = ((uv >= 0) & (uv < size)).all(dim=-1) & (depth > 0)
        origin = rig.cam2ref[0, :3, 3]
        directions = targets[inside] - origin
        around = occupied.clone()
        index, within = grid.locate(origin[None])
        around[tuple(index[within].T)] = False
        starts = origin.expand_as(directions)
        seen |= visible_voxels(around, starts, directions, grid)
    return seen


def _targets(
    occupied: Tensor,  # (X, Y, Z)
    grid: VoxelGrid,
) -> Tensor:
    """Where rays shall pass, metres in the grid's frame, (P, 3)."""
    # with free space all around, as the cameras may stand there
    solid = np.pad(occupied.numpy(), 1)
    points = [np.argwhere(~occupied.numpy()) + 0.5]
    for axis in range(3):
        # a face is half a voxel behind the centre of the voxel before it
        centre = np.argwhere(np.diff(solid, axis=axis)) - 0.5
        centre[:, axis] += 0.5
        aside, up = np.delete(np.eye(3), axis, axis=0) / 4
        quarters = (a * aside + b * up for a in (-1, 1) for b in (-1, 1))
        points += [centre + quarter for quarter in quarters]
    metres = np.concatenate(points) * np.array(grid.size) + np.array(grid.min)
    return torch.from_numpy(metres)
