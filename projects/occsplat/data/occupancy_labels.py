"""Voxel labels of one's own, from LiDAR sweeps, poses and boxes.

For a data set in nuScenes' format that has none. The points of all key
frames of a scene (see ``accumulation``) are put to where they are at each
of them: what stands still through the car's poses, an object through its
box. A voxel with points is occupied, by the class that most of them have;
small gaps between the LiDAR's rings on the ground are closed. Flow is the
velocity of an object's box. What can be seen, and so what a metric may
count, is found with rays from the LiDAR and from the cameras.

Shape letters: X Y Z voxels, P points.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import torch

from occsplat.ops import visible_voxels
from occsplat.structures import (
    LabelSpec,
    VoxelGrid,
    check_writable,
    transform_points,
    whole_file,
)

from .accumulation import (
    UNKNOWN,
    Cloud,
    ScenePoints,
    from_box,
    gather,
    named_boxes,
)
from .errors import DataError
from .info_files import load_infos, records_of, write_infos
from .lidarseg import class_table, lidarseg_file, open_lidarseg, read_classes
from .point_clouds import read_points
from .sets import occ3d, openocc
from .tables import Tables
from .visibility import record_cameras, seen_by_rigs
from .workers import each_frame

#: what is known to be there, but not as what
OTHERS = occ3d.SPEC.classes.index('others')
#: classes whose gaps are closed: a surface without holes
GROUND = ('driveable_surface', 'other_flat', 'sidewalk', 'terrain')
#: columns from ground to ground across a gap that is closed: as far apart as
#: the rings of 32 beams are on a street 20 m away
GAP = 9


@dataclass
class FrameLabels:
    """Labels of a key frame on the grid of Occ3D and OpenOcc.

    Attributes:
        occ: Occ3D ids, uint8 (X, Y, Z).
        flow: m/s along the ego axes, float32 (X, Y, Z, 2).
        mask_lidar, mask_camera: voxels that rays of the key frame's own
            sensors reach, bool (X, Y, Z).
    """

    occ: np.ndarray
    flow: np.ndarray
    mask_lidar: np.ndarray
    mask_camera: np.ndarray


def create_occupancy(
    root: str | Path,
    version: str,
    info: str,
    out: str | Path | None = None,
    workers: int = 1,
    progress: bool = True,
) -> int:
    """Write labels of all key frames of an info file.

    In the formats of Occ3D (``gts/``) and OpenOcc (``openocc_v2/``, with
    flow, and its visibility masks): every config of these label sets
    takes them.

    Args:
        root: data root with info files and sweeps; with nuScenes-lidarseg
            points have classes, without it those in boxes alone, and all
            else is 'others'.
        version: of the tables, such as 'v1.0-trainval'.
        info: name of the info file in the root.
        out: folder for the label files instead of the root; the info file
            then stays as it is.
        workers: number of processes.
        progress: whether to show a progress bar.

    Returns:
        int: key frames.

    Raises:
        FileNotFoundError: when the info file or a sweep is missing.
        DataError: when the root has labels already and ``out`` is not
            given, or files can't be used or written.
    """
    path = Path(root) / info
    infos = load_infos(path)
    records = records_of(infos, path, root, occ3d.SPEC.frame, cameras=None)
    files = occ3d.LABELS.file, openocc.LABELS.file, openocc.MASK_FILE
    for record in records:
        for file in files:
            if out is None and record[file.key] is not None:
                raise DataError(
                    f'key frame {record["token"]!r} has {file.title} already '
                    f'({record[file.key]}): give another folder with --out'
                )
    target = Path(out or root)
    target.mkdir(parents=True, exist_ok=True)
    check_writable(target)
    classes_of = _class_reader(root, version)
    scenes: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        scenes.setdefault(record['scene_token'], []).append(record)
    work = partial(_write_scene, target, classes_of)
    for _ in each_frame(work, list(_scenes(scenes)), workers, progress):
        pass
    if out is None:
        for info, record in zip(infos['data_list'], records):
            for file in files:
                info[file.key] = _place(file, record)
        write_infos(path, infos)
    return len(records)


def _scenes(scenes: dict[str, list[dict]]) -> Iterator[dict[str, Any]]:
    """Each as one piece of work, named after its first key frame."""
    for records in scenes.values():
        records.sort(key=lambda record: record['timestamp'])
        yield dict(records[0], records=records)


def _class_reader(
    root: str | Path, version: str
) -> Callable[[dict[str, Any], int], np.ndarray]:
    """From a record and its number of points to their classes."""
    if not (Path(root) / version / 'lidarseg.json').is_file():
        return _no_classes
    tables = open_lidarseg(root, version)
    table = class_table(tables.category)
    return partial(_read_classes, tables, table)


def _no_classes(record: dict[str, Any], count: int) -> np.ndarray:
    return np.full(count, UNKNOWN, np.uint8)


def _read_classes(
    tables: Tables, table: np.ndarray, record: dict[str, Any], count: int
) -> np.ndarray:
    path = lidarseg_file(tables, record['token'])
    return read_classes(path, table, count, record['lidar_path'])


def _write_scene(
    target: Path, classes_of: Callable, scene: dict[str, Any]
) -> None:
    """All key frames of a scene."""

    def sweep_of(record: dict[str, Any]) -> Cloud:
        points = read_points(record['lidar_path'], record['num_pts_feats'])
        return Cloud(points[:, :3], classes_of(record, len(points)))

    points = gather(scene['records'], sweep_of)
    for record in scene['records']:
        sweep = sweep_of(record)
        write_labels(target, record, label_frame(points, record, sweep))


def label_frame(
    scene: ScenePoints,
    record: dict[str, Any],
    sweep: Cloud,
    grid: VoxelGrid = occ3d.SPEC.grid,
) -> FrameLabels:
    """The labels of a key frame.

    Args:
        scene: points of all its key frames.
        record: of the key frame, see ``frame_record``, in the ego frame.
        sweep: the key frame's own, in the LiDAR frame: where its rays go.
        grid: of the labels, in the ego frame.
    """
    lidar2ref = record['lidar2ref']
    still = scene.background.moved(np.linalg.inv(record['ref2global']))
    occ = close_ground(vote(still, grid))
    flow = np.zeros((*grid.shape, 2), np.float32)
    rotation = lidar2ref[:2, :2]
    for (name, box), label, velocity in zip(
        named_boxes(record), record['box_names'], record['box_velocities']
    ):
        if name not in scene.objects:
            continue
        cloud = scene.objects[name]
        placed = Cloud(from_box(cloud.points, box), cloud.classes)
        if label in occ3d.SPEC.classes:
            one = np.full(len(placed.points), occ3d.SPEC.classes.index(label))
            placed = placed._replace(classes=one.astype(np.uint8))
        thing = vote(placed.moved(lidar2ref), grid)
        there = thing != occ3d.SPEC.free
        occ[there] = thing[there]
        if np.isfinite(velocity).all():
            flow[there] = rotation @ velocity
    occupied = torch.from_numpy(occ != occ3d.SPEC.free)
    rays = transform_points(lidar2ref, sweep.points.astype(np.float64))
    origin = torch.from_numpy(lidar2ref[:3, 3])
    directions = torch.from_numpy(rays) - origin
    seen = visible_voxels(
        occupied, origin.expand_as(directions), directions, grid
    )
    cameras = seen_by_rigs(occupied, record_cameras(record), grid)
    return FrameLabels(occ, flow, seen.numpy(), cameras.numpy())


def vote(
    cloud: Cloud, grid: VoxelGrid, spec: LabelSpec = occ3d.SPEC
) -> np.ndarray:
    """The class that most of a voxel's points have.

    Points without a class count only where no other is. Of several classes
    with as many points the lowest id counts.

    Args:
        cloud: in the grid's frame.
        grid: where the voxels are.
        spec: of the ids.

    Returns:
        ndarray: uint8 (X, Y, Z); 'free' without a point, 'others' where no
        point has a class.
    """
    index, inside = grid.locate(torch.from_numpy(cloud.points))
    flat = np.ravel_multi_index(index[inside].numpy().T, grid.shape)
    ids = cloud.classes[inside.numpy()]
    occ = np.full(grid.num_voxels, spec.free, np.uint8)
    occ[flat] = OTHERS
    known = ids != UNKNOWN
    ballots = flat[known] * np.int64(spec.num_classes) + ids[known]
    kinds, counts = np.unique(ballots, return_counts=True)
    # the last one written stays: most points, then the lowest id
    order = np.lexsort((-kinds, counts))
    voxel, winner = np.divmod(kinds[order], spec.num_classes)
    occ[voxel] = winner
    return occ.reshape(grid.shape)


def close_ground(occ: np.ndarray) -> np.ndarray:
    """Fill short gaps in the ground along x, then along y.

    A column without ground takes class and layer of the last ground before
    it, if there is ground behind it, too, at most ``GAP`` columns further on
    and on a layer that differs by one at most.

    Args:
        occ: Occ3D ids, uint8 (X, Y, Z).

    Returns:
        ndarray: another one.
    """
    ids = [occ3d.SPEC.classes.index(name) for name in GROUND]
    occ = occ.copy()
    for axis in (0, 1):
        view = occ.swapaxes(0, axis)  # the gap runs along the first axis
        ground = np.isin(view, ids)
        has = ground.any(axis=2)
        layer = ground.argmax(axis=2)
        label = np.take_along_axis(view, layer[..., None], axis=2)[..., 0]
        place = np.arange(len(view))[:, None]
        before = np.maximum.accumulate(np.where(has, place, -1))
        behind = np.where(has, place, 2 * len(view))[::-1]
        behind = np.minimum.accumulate(behind)[::-1]
        gap = ~has & (before >= 0) & (behind - before <= GAP)
        i, k = np.nonzero(gap)
        first, last = before[i, k], behind[i, k]
        level = np.abs(layer[first, k] - layer[last, k]) <= 1
        i, k, first = i[level], k[level], first[level]
        z = layer[first, k]
        free = view[i, k, z] == occ3d.SPEC.free
        view[i[free], k[free], z[free]] = label[first[free], k[free]]
    return occ


def write_labels(
    target: Path, record: dict[str, Any], labels: FrameLabels
) -> None:
    """Write a key frame's three files, each whole or not at all."""
    names = [
        openocc.SPEC.classes.index(name)
        if name in openocc.SPEC.classes
        else openocc.SPEC.ignore
        for name in occ3d.SPEC.classes
    ]
    translated = np.array(names, np.uint8)[labels.occ]
    for file, arrays in (
        (
            occ3d.LABELS.file,
            dict(
                semantics=labels.occ,
                mask_lidar=labels.mask_lidar.astype(np.uint8),
                mask_camera=labels.mask_camera.astype(np.uint8),
            ),
        ),
        (
            openocc.LABELS.file,
            dict(semantics=translated, flow=labels.flow.astype(np.float16)),
        ),
        (openocc.MASK_FILE, {openocc.MASK: labels.mask_camera}),
    ):
        path = target / _place(file, record)
        with whole_file(path) as part, open(part, 'wb') as stream:
            np.savez_compressed(stream, **arrays)


def _place(file: Any, record: dict[str, Any]) -> str:
    """A key frame's file of a kind, relative to the root."""
    return file.path(
        record['scene_name'],
        record['token'],
        os.path.basename(record['lidar_path']),
    )
