"""Do images, points, boxes and labels of a data set fit each other?

A label that is transposed, of another frame or a voxel aside is a label
like any other, and a network that learns from it is just worse. So what
the LiDAR says is held against everything else, in random key frames, with a
bound for each figure. Between these the bounds lie, the lowest figure of
MiniTown's 200 key frames and the highest of every eighth one of training
with a fault put in:

===================================  =====  =======================  =====
figure                               right  fault                    wrong
===================================  =====  =======================  =====
points in the images before them      1.00  camera upside down        0.00
boxes with a point                    1.00  of another key frame      0.56
points of boxes that are in them      1.00  length for width          0.71
labels beside points above the road   0.89  x for y                   0.47
labels under points                   0.56  a voxel up or down        0.37
===================================  =====  =======================  =====

A real key frame of nuScenes gives 1.00 for the first three. Not every key
frame shows a fault: matrices of cameras that are transposed leave one image
of six as it should be, and labels of the next key frame fit (0.88) where the
car stands.

Labels a voxel aside stay above the bounds: they are found because labels
that are moved back by one fit better, on average of all frames. A camera
that has another one's matrices altogether is not found: images are not
looked into.

Shape letters: N cameras, P points, X Y Z voxels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from occsplat.structures import (
    CameraRig,
    Finding,
    VoxelGrid,
    transform_points,
)

from .errors import DataError
from .frame_records import frame_record
from .images import read_image
from .label_set import LabelSet, label_sets
from .pixel_files import read_packed
from .point_clouds import read_points
from .sets import lidar2d
from .transforms.boxes import in_box
from .visibility import record_cameras

#: metres from a camera, level, between which a LiDAR of a car hits what the
#: cameras of the car have in their images: nearer is below, farther is high
IN_VIEW = (8.0, 40.0)
#: share of half a view angle that is looked at: not the image's border
VIEW_SHARE = 0.9
#: metres from the LiDAR, level, within which points are on its own car
OWN_CAR = 3.0
#: metres above the ground, which is z = 0 of the ego frame: a road looks
#: the same wherever one stands on it
ABOVE_ROAD = 0.5
#: points below which a figure says nothing
FEW = 50
#: by how much other places of labels have to fit better; right labels fit
#: better than any other by 0.024 (MiniTown, SurroundOcc, a voxel to the left)
BETTER = 0.01


@dataclass(frozen=True)
class Bound:
    """What a share has to reach in every key frame.

    Attributes:
        name: what has this share.
        least: the bound.
        cause: what it usually is when the share is lower.
    """

    name: str
    least: float
    cause: str


IMAGES = Bound(
    'points in the images before them',
    0.9,
    "Usually a camera's lidar2cam or cam2img is transposed, inverted, or of "
    'another camera or image size',
)
BOXES = Bound(
    'boxes with a point',
    0.95,
    'Usually boxes are in the ego frame, or of another key frame: bbox_3d is '
    'x y z of the centre, length, width, height and yaw in the LiDAR frame',
)
BOX_POINTS = Bound(
    'points of boxes that are in them',
    0.9,
    'Usually length and width are exchanged, the yaw is of an older '
    'mmdetection3d, or z is that of the bottom',
)
BESIDE = Bound(
    'labels beside points above the road',
    0.85,
    'Usually labels are of another key frame or scene, in another frame (ego '
    'for LiDAR), or have their axes in another order',
)
UNDER = Bound(
    'labels under points',
    0.45,
    'Usually labels are shifted up or down, or of another range',
)


@dataclass
class Tally:
    """Shares of key frames, by what has them.

    Attributes:
        shares: for each figure the share of each key frame, by its token.
        fits: for each label set and each place of labels the shares.
        broken: what can't be read, a line each.
    """

    shares: dict[tuple[Bound, str], dict[str, float]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    fits: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    broken: list[str] = field(default_factory=list)


def check_frames(
    root: str | Path,
    infos: Mapping[str, Mapping[str, Any]],
    frames: int = 32,
    seed: int = 0,
) -> list[Finding]:
    """Hold what the LiDAR says against the rest, in random key frames.

    Args:
        root: the data root.
        infos: content of info files, by split; see ``load_infos``.
        frames: how many to look at, of all of them.
        seed: of the draw.

    Returns:
        list: a line for each figure, and for what can't be read.
    """
    entries = [
        (entry, content['metainfo'].get('categories'))
        for content in infos.values()
        for entry in content['data_list']
    ]
    order = np.random.default_rng(seed).permutation(len(entries))
    tally = Tally()
    for index in sorted(order[:frames]):
        entry, categories = entries[index]
        try:
            _measure(entry, categories, root, tally)
        except (DataError, FileNotFoundError) as error:
            tally.broken.append(str(error))
    return [*_report(tally, min(frames, len(entries)))]


def _measure(
    entry: dict[str, Any],
    categories: Mapping[str, int] | None,
    root: str | Path,
    tally: Tally,
) -> None:
    """Add the shares of a key frame."""
    records = {
        frame: frame_record(entry, root, frame, None, categories)
        for frame in ('ego', 'lidar')
    }
    record = records['ego']
    token = record['token']
    sweep = read_points(record['lidar_path'], record['num_pts_feats'])
    sweep = sweep[:, :3].astype(np.float64)
    ego = transform_points(record['lidar2ref'], sweep)
    for path in record['img_paths']:
        read_image(path)
    if record[lidar2d.FILE.key] is not None:
        read_packed(record[lidar2d.FILE.key])

    def note(bound: Bound, share: float | None, of: str = '') -> None:
        if share is not None:
            tally.shares[bound, of][token] = share

    for name, rig in zip(record['cameras'], record_cameras(record)):
        note(IMAGES, share_in_image(rig, ego), name)
    for bound, share in zip(
        (BOXES, BOX_POINTS), share_in_boxes(record, sweep)
    ):
        note(bound, share)
    others = np.hypot(*sweep[:, :2].T) > OWN_CAR
    sweep, above = sweep[others], ego[others, 2] > ABOVE_ROAD
    for labels in label_sets():
        place = records[labels.spec.frame]
        if place[labels.file.key] is None:
            continue
        points = transform_points(place['lidar2ref'], sweep)
        under, fits = label_fits(labels, place, points, above)
        title = labels.file.title
        note(UNDER, under, title)
        note(BESIDE, fits.get(_AS_THEY_ARE), title)
        for where, share in fits.items():
            tally.fits[title][where].append(share)


def share_in_image(
    rig: CameraRig,  # (1,)
    points: np.ndarray,  # (P, 3)
) -> float | None:
    """Of the points before a camera, those that fall into its image.

    Before it are points within its view angle to the left and right, some
    way off. Its beams look no higher and no lower than cameras do.

    Args:
        rig: the camera.
        points: metres in the reference frame, z up.

    Returns:
        float: the share inside the image with a positive depth, and with
        what is above them above them; None where next to no point is
        before the camera.
    """
    centre = rig.cam2ref[0, :3, 3].numpy()
    forward = rig.cam2ref[0, :2, 2].numpy()
    K = rig.K[0].numpy()
    half = math.atan(min(K[0, 2], rig.width - K[0, 2]) / K[0, 0])
    offset = points[:, :2] - centre[:2]
    away = np.hypot(*offset.T)
    turn = np.arctan2(*offset.T[::-1]) - math.atan2(forward[1], forward[0])
    turn = np.abs((turn + math.pi) % (2 * math.pi) - math.pi)
    before = (away > IN_VIEW[0]) & (away < IN_VIEW[1])
    before &= turn < VIEW_SHARE * half
    if before.sum() < FEW:
        return None
    points = points[before]
    uv, depth = (x[0].numpy() for x in rig.project(torch.from_numpy(points)))
    inside = ((uv >= 0) & (uv < (rig.width, rig.height))).all(axis=-1)
    # images of a camera that hangs upside down are turned, as a rule
    higher, _ = rig.project(torch.from_numpy(points + (0, 0, 1)))
    upright = higher[0, :, 1].numpy() < uv[:, 1]
    return float((inside & upright & (depth > 0)).mean())


def share_in_boxes(
    record: Mapping[str, Any],
    points: np.ndarray,  # (P, 3)
) -> tuple[float | None, float | None]:
    """Of the boxes that should hold points, those that do; and the points.

    Args:
        record: of the key frame, see ``frame_record``.
        points: metres in the LiDAR frame.

    Returns:
        tuple: the share of boxes with a point, and how many of the points
        that annotators counted are there; None where no box has any.
    """
    kept = record['box_points'] > 0
    if not kept.any():
        return None, None
    counted = record['box_points'][kept]
    found = np.array(
        [in_box(points, box).sum() for box in record['boxes'][kept]]
    )
    there = np.minimum(found, counted).sum() / counted.sum()
    return float((found > 0).mean()), float(there)


_AS_THEY_ARE = ''


def label_fits(
    labels: LabelSet,
    record: Mapping[str, Any],
    points: np.ndarray,  # (P, 3)
    above: np.ndarray,  # (P,)
) -> tuple[float | None, dict[str, float]]:
    """Shares of the points at which labels are, wherever these are put.

    Args:
        labels: the label set.
        record: of the key frame in the frame of the labels.
        points: metres in that frame.
        above: which of them are above the road.

    Returns:
        tuple: of the points in the grid those whose voxel is not free;
        and a dict: of those above the road the ones of whose voxel and its
        26 neighbours one is not free, under '', and the same with labels
        put elsewhere, by what was done to them. None and empty where there
        are few points.
    """
    spec = labels.spec
    there = labels.read(record, False).occ != spec.free
    index, inside = (
        x.numpy() for x in spec.grid.locate(torch.from_numpy(points))
    )
    high = tuple(index[inside & above].T)
    if len(high[0]) < FEW:
        return None, {}
    beside = torch.from_numpy(there)[None].float()
    beside = F.max_pool3d(beside, 3, stride=1, padding=1)[0].numpy() > 0
    fits = {
        where: float(move(beside)[high].mean())
        for where, move in _moves(spec.grid).items()
    }
    return float(there[tuple(index[inside].T)].mean()), fits


def _moves(
    grid: VoxelGrid,
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What may have gone wrong with the axes, undone; names tell people."""
    moves: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        _AS_THEY_ARE: lambda occ: occ,
        'mirrored along x': lambda occ: occ[::-1],
        'mirrored along y': lambda occ: occ[:, ::-1],
        'turned by 180 degrees': lambda occ: occ[::-1, ::-1],
    }
    for axis, name in enumerate('xy'):
        for step in (-2, -1, 1, 2):
            moves[f'moved by {step:+d} voxels along {name}'] = (
                lambda occ, step=step, axis=axis: np.roll(occ, step, axis)
            )
    if grid.shape[0] == grid.shape[1]:
        moves['with x and y exchanged'] = lambda occ: occ.swapaxes(0, 1)
        for turns, degrees in ((1, 90), (3, 270)):
            moves[f'turned by {degrees} degrees'] = lambda occ, turns=turns: (
                np.rot90(occ, turns)
            )
    return moves


def _report(tally: Tally, frames: int) -> Iterator[Finding]:
    if tally.broken:
        yield Finding(
            'problem',
            'files of key frames',
            f'{len(tally.broken)} of {frames} key frames have one that cannot '
            f'be used: {tally.broken[0]}',
        )
    for (bound, of), shares in tally.shares.items():
        yield _verdict(bound, of, shares)
    for title, fits in tally.fits.items():
        yield _best_fit(title, fits)


def _verdict(bound: Bound, of: str, shares: Mapping[str, float]) -> Finding:
    """Whether all shares of a figure are high enough."""
    name = f'{bound.name}, {of}' if of else bound.name
    lowest = min(shares, key=lambda token: shares[token])
    mean = sum(shares.values()) / len(shares)
    low = sum(share < bound.least for share in shares.values())
    if not low:
        return Finding(
            'ok',
            name,
            f'{mean:.2f} on average of {len(shares)} key frames, at least '
            f'{shares[lowest]:.2f} (bound {bound.least})',
        )
    return Finding(
        'problem',
        name,
        f'below {bound.least} in {low} of {len(shares)} key frames, '
        f'{shares[lowest]:.2f} in {lowest!r}, {mean:.2f} on average. '
        f'{bound.cause}',
    )


def _best_fit(title: str, fits: Mapping[str, Sequence[float]]) -> Finding:
    """Whether labels fit best where they are."""
    name = f'place of {title}'
    means = {where: float(np.mean(shares)) for where, shares in fits.items()}
    best = max(means, key=lambda where: means[where])
    if means[best] <= means[_AS_THEY_ARE] + BETTER:
        return Finding(
            'ok',
            name,
            f'they fit the points best as they are, {means[_AS_THEY_ARE]:.3f}',
        )
    return Finding(
        'problem',
        name,
        f'{best} they fit the points better ({means[best]:.3f}) than as they '
        f'are ({means[_AS_THEY_ARE]:.3f}). Usually they were written for '
        'another grid or frame, or with their axes in another order',
    )
