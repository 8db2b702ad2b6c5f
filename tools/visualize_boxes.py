"""Draw the boxes that come out of occupancy beside the annotated ones.

python tools/visualize_boxes.py CONFIG --out outputs/boxes
python tools/visualize_boxes.py CONFIG --checkpoint CHECKPOINT --out DIR

Writes one sheet per frame: instances from behind, boxes found from above,
annotated boxes from above. Without a checkpoint the labels stand for a
prediction: what a perfect one would give.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import numpy as np

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    ConfigError,
    build_split,
    inference_occ,
    load_config,
    user_errors,
)
from occsplat.engine.cli import (
    add_drawing_options,
    add_frames_option,
    draw_sheets,
    load_model,
)
from occsplat.ops import predicted_boxes
from occsplat.structures import (
    LabelSpec,
    OccDataSample,
    VoxelGrid,
    check_writable,
)
from occsplat.visualization import contact_sheet
from occsplat.visualization.bev import BevMap, bev_image
from occsplat.visualization.boxes import Boxes
from occsplat.visualization.colors import (
    nothing_shown,
    volume_colors,
)
from occsplat.visualization.heading import reach
from occsplat.visualization.sheet import with_note
from occsplat.visualization.voxel_views import (
    chase_rig,
    render_occupancy,
)

#: height of a panel in pixels
SIZE = 640
#: how much of its colour everything keeps that is no instance
FADED = 0.35


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_drawing_options(parser, checkpoint=False)
    add_frames_option(parser, default=1)
    return parser


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw as the command line says; returns the files."""
    args = make_parser().parse_args(argv)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_writable(args.out)
        model = load_model(cfg, args) if args.checkpoint else None
        dataset = build_split(cfg, 'val')
        spec = LabelSpec.named(dataset.label_spec)
        source = 'labels' if model is None else 'prediction'

        def draw(index: int) -> tuple[str, np.ndarray]:
            packed = dataset[index]
            if model is None:
                sample = labels_as_prediction(packed['data_samples'])
            else:
                (sample,) = inference_occ(model, [packed])
            return sample.scene_name, boxes_sheet(sample, spec, source)

        paths = []
        for path in draw_sheets(args, dataset, draw):
            print(path)
            paths.append(path)
        return paths


def labels_as_prediction(sample: OccDataSample) -> OccDataSample:
    """The sample, as if its labels had been predicted.

    Raises:
        ConfigError: when the test pipeline loads no labels.
    """
    if 'gt_occ' not in sample:
        raise ConfigError(
            'there is nothing to draw without --checkpoint: the test '
            'pipeline loads no labels, add LoadOccLabels'
        )
    sample.pred_occ = sample.gt_occ
    if 'gt_flow' in sample:
        sample.pred_flow = sample.gt_flow
    return sample


def boxes_sheet(
    sample: OccDataSample, spec: LabelSpec, source: str
) -> np.ndarray:
    """Instances, boxes found, annotated boxes.

    Args:
        sample: with ``pred_occ`` (X, Y, Z), perhaps ``pred_offsets``,
            ``pred_flow`` and annotated ``gt_boxes``.
        spec: meaning of the ids.
        source: what ``pred_occ`` is, for the titles.

    Returns:
        ndarray: RGB, uint8 (H, W, 3).
    """
    occ = sample.pred_occ.numpy()
    grid = VoxelGrid(spec.grid.range, occ.shape)
    found = predicted_boxes(sample, grid, spec)
    chase = chase_rig(round(1.4 * SIZE), SIZE, frame=spec.frame)
    colors = instance_colors(occ, found.ids.numpy(), spec)
    (behind, _), (ahead, _) = reach(grid, spec.frame)
    view = BevMap(grid, SIZE / (ahead - behind), spec.frame)
    note = nothing_shown(occ, spec)
    boxes = Boxes.from_arrays(
        found.boxes.numpy(),
        found.labels.numpy(),
        spec,
        found.velocities.numpy(),
    )
    panels = [
        (
            f'{source}: {len(found)} instances, colours at random',
            with_note(
                render_occupancy(occ, grid, spec, chase, colors)[0], note
            ),
        ),
        (
            f'{source}: boxes found',
            with_note(bev_image(occ, spec, view, boxes=boxes), note),
        ),
    ]
    if 'gt_boxes' in sample:
        annotated = Boxes.from_arrays(
            sample.gt_boxes.numpy(),
            sample.gt_box_labels.numpy(),
            spec,
            sample.gt_box_velocities.numpy(),
        )
        panels.append(
            (
                'annotated boxes with a LiDAR return',
                bev_image(occ, spec, view, boxes=annotated),
            )
        )
    return contact_sheet([panels], title='Boxes', spec=spec)


def instance_colors(
    occ: np.ndarray,  # (X, Y, Z)
    ids: np.ndarray,  # (X, Y, Z)
    spec: LabelSpec,
) -> np.ndarray:
    """A colour of its own for each instance, the rest faded.

    Returns:
        ndarray: RGB, uint8 (X, Y, Z, 3).
    """
    drawn = np.random.default_rng(0).integers(80, 256, (ids.max() + 1, 3))
    gray = volume_colors(occ, spec).mean(axis=-1, keepdims=True)
    faded = np.broadcast_to(FADED * gray, (*occ.shape, 3))
    return np.where(ids[..., None] > 0, drawn[ids], faded).astype(np.uint8)


if __name__ == '__main__':
    main()
