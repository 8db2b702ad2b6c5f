"""Count the voxels of a split by class and speed.

Shape letters: K classes, Q speed groups, X Y Z voxels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from occsplat.structures import LabelSpec, LabelStatistics

from .info_files import read_infos, records_of
from .layout import info_file
from .transforms import LoadOccLabels
from .workers import each_frame


def count_labels(
    root: str | Path,
    label_set: str | LabelSpec = 'openocc',
    split: str = 'train',
    workers: int = 1,
    progress: bool = True,
) -> LabelStatistics:
    """Count the label files of a split.

    Every key frame of the info file counts, every voxel but the ignored
    ones, seen by a camera or not.

    Args:
        root: data root with info files.
        label_set: whose labels.
        split: 'train' or 'val'. Weights for training belong to 'train':
            what a network is tested on has no say in them.
        workers: number of processes.
        progress: whether to show a progress bar.

    Raises:
        FileNotFoundError: when the info file or a label file is missing.
        DataError: when one of them can't be used.
    """
    spec = LabelSpec.named(label_set)
    records = records_of(
        read_infos(root, split),
        Path(root) / info_file(split),
        root,
        spec.frame,
        cameras=None,
    )
    # visibility masks are not worth their reading here
    records = [{**record, 'visibility_path': None} for record in records]
    bins = spec.speed_bins if spec.has_flow else (0.0,)
    work = partial(_count_frame, spec=spec, bins=bins)
    total = sum(
        each_frame(work, records, workers, progress),
        np.zeros((spec.num_classes, len(bins)), np.int64),
    )
    return LabelStatistics(
        classes=spec.classes,
        speed_bins=bins,
        counts=tuple(map(tuple, total.tolist())),
        frames=len(records),
    )


def _count_frame(
    record: dict[str, Any], spec: LabelSpec, bins: tuple[float, ...]
) -> np.ndarray:
    results = LoadOccLabels(spec)(record)
    return count_voxels(results['gt_occ'], results.get('gt_flow'), spec, bins)


def count_voxels(
    occ: np.ndarray,
    flow: np.ndarray | None,
    spec: LabelSpec,
    bins: tuple[float, ...],
) -> np.ndarray:
    """Voxels of one frame by class and speed.

    Args:
        occ: class ids, (X, Y, Z).
        flow: m/s, (X, Y, Z, 2); None: everything stands still.
        spec: meaning of the ids.
        bins: lower edges of the speed groups in m/s, from 0, (Q,).

    Returns:
        ndarray: int64 (K, Q).
    """
    group = np.zeros(occ.shape, np.int64)
    if flow is not None:
        # a speed of exactly 0 is not below the first edge, 0: group 0
        group = np.digitize(np.hypot(flow[..., 0], flow[..., 1]), bins) - 1
    known = occ != spec.ignore
    cell = occ[known].astype(np.int64) * len(bins) + group[known]
    counts = np.bincount(cell, minlength=spec.num_classes * len(bins))
    return counts.reshape(spec.num_classes, len(bins))


def statistics_table(statistics: LabelStatistics) -> str:
    """Lines to read: shares by class, voxels by class and speed."""
    edges = [f'{edge:g}' for edge in statistics.speed_bins]
    heads = [f'{a}-{b} m/s' for a, b in zip(edges, edges[1:])]
    heads.append(f'from {edges[-1]} m/s')
    total = max(sum(statistics.class_counts), 1)
    rows = [
        (name, row, sum(row))
        for name, row in zip(statistics.classes, statistics.counts)
    ]
    rows.append(('all', statistics.speed_counts, total))
    wide = max(len(name) for name, _, _ in rows)
    lines = [' ' * wide + ''.join(f'{h:>15}' for h in ['share', *heads])]
    lines += [
        f'{name:<{wide}}{of / total:>15.4%}'
        + ''.join(f'{count:>15,}' for count in row)
        for name, row, of in rows
    ]
    return '\n'.join(lines)
