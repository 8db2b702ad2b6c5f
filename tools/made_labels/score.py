"""Made labels against those of a data set that has some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.data import NuScenesOccDataset
from occsplat.data.transforms import LoadOccLabels
from occsplat.evaluation import OccIoUMetric, RayIoUMetric

#: rows of the table
SHOWN = ('IoU', 'mIoU', 'RayIoU', 'RayIoU@1', 'RayIoU@4', 'flow error')


def score_labels(root: str, info: str, out: str) -> str:
    """A table in Markdown.

    Classes are Occ3D's, over what its camera masks show; the error of the
    flow is the mean over voxels that move in OpenOcc and are occupied in
    both, m/s.

    Args:
        root: data root with Occ3D and OpenOcc labels.
        info: name of an info file in it.
        out: folder of the made labels.
    """
    frames = NuScenesOccDataset(
        root, info, 'occ3d', test_mode=True, cameras=None
    )
    free = frames.label_spec.free
    metrics = [OccIoUMetric('occ3d', mask='camera'), RayIoUMetric('occ3d')]
    flow_errors = []
    for index in tqdm(range(len(frames)), disable=None):
        record = frames.get_data_info(index)
        truth, made = _both(record, 'occ3d', root, out)
        sample = dict(
            token=record['token'],
            gt_occ=torch.from_numpy(truth['gt_occ']),
            gt_visible=torch.from_numpy(truth['gt_visible']),
            ray_origins=torch.from_numpy(record['ray_origins']),
            pred_occ=torch.from_numpy(made['gt_occ']),
        )
        for metric in metrics:
            metric.process({}, [sample])
        flows = _both(record, 'openocc', root, out)
        truth_flow, made_flow = (labels['gt_flow'] for labels in flows)
        moves = truth_flow.any(axis=-1) & (made['gt_occ'] != free)
        error = np.linalg.norm(truth_flow[moves] - made_flow[moves], axis=-1)
        flow_errors.append(error)
    scores: dict[str, float] = {}
    for metric in metrics:
        scores.update(metric.evaluate(len(frames)))
    scores['flow error'] = float(np.concatenate(flow_errors).mean())
    lines = ['| score | made labels against those of the root |', '|---|--:|']
    lines += [f'| {name} | {scores[name]:.4f} |' for name in SHOWN]
    return '\n'.join(lines)


def _both(
    record: dict[str, Any], label_set: str, root: str, out: str
) -> list[dict[str, Any]]:
    """Labels of the root, and those that were made."""
    key = f'{label_set}_path'
    place = Path(record[key]).relative_to(root)
    load = LoadOccLabels(label_set)
    other = {key: str(Path(out) / place), 'visibility_path': None}
    return [load(dict(record)), load({**record, **other})]
