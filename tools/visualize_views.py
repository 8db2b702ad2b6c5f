"""Draw what GaussRender's virtual cameras see of a prediction.

python tools/visualize_views.py CONFIG CHECKPOINT --out outputs/views

Writes one sheet per frame: a row for each strategy of placing a camera and
one for the planes, each with the true classes, the predicted ones, and the
true depth.
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
import torch
from torch import Tensor

from occsplat.engine import (
    build_split,
    inference_occ,
    load_config,
    raw_views,
    user_errors,
)
from occsplat.engine.cli import (
    add_drawing_options,
    add_frames_option,
    draw_sheets,
    load_model,
)
from occsplat.models.render_heads.camera_strategies import STRATEGIES, Scene
from occsplat.models.render_heads.virtual_views import CameraViews, PlaneView
from occsplat.structures import (
    CameraRig,
    Cameras,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
    check_writable,
)
from occsplat.visualization import contact_sheet
from occsplat.visualization.colors import nothing_shown
from occsplat.visualization.sheet import with_note
from occsplat.visualization.splat_views import (
    splat_pictures,
    splat_volume,
)

#: width of a camera's render in pixels
WIDTH = 480
#: metres at which a depth image is black
FAR = 60.0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_drawing_options(parser)
    add_frames_option(parser, default=1)
    parser.add_argument('--seed', type=int, default=0, help='of the cameras')
    return parser


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw as the command line says; returns the files."""
    args = make_parser().parse_args(argv)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_writable(args.out)
        model = load_model(cfg, args)
        dataset = build_split(cfg, 'val')
        spec = LabelSpec.named(dataset.label_spec)

        def draw(index: int) -> tuple[str, np.ndarray]:
            (sample,) = inference_occ(model, [dataset[index]])
            _, rig = raw_views(dataset.get_data_info(index), sample)
            rig = rig.scaled(WIDTH / rig.width)
            generator = torch.Generator().manual_seed(args.seed)
            return sample.scene_name, views_sheet(sample, rig, spec, generator)

        paths = []
        for path in draw_sheets(args, dataset, draw):
            print(path)
            paths.append(path)
        return paths


def views_sheet(
    sample: OccDataSample,
    rig: CameraRig,
    spec: LabelSpec,
    generator: torch.Generator,
) -> np.ndarray:
    """All kinds of views of a predicted sample.

    Args:
        sample: with gt_occ and pred_occ, (X, Y, Z).
        rig: its sensors (N,), in the size to be drawn.
        spec: meaning of the ids.
        generator: places the cameras.

    Returns:
        ndarray: RGB, uint8 (H, W, 3).
    """
    true, predicted = sample.gt_occ, sample.pred_occ
    grid = VoxelGrid(spec.grid.range, true.shape)
    wrong = (true != predicted) & (true != spec.ignore)
    occupied = spec.is_occupied(true)
    scene = Scene(rig, grid, grid.centers()[occupied], wrong.float())
    rows = []
    for strategy in STRATEGIES:
        placed = CameraViews(strategy=strategy)(scene, generator)
        rows.append(
            _row(
                strategy.replace('_', ' + '),
                placed.cameras,
                grid,
                true,
                predicted,
                spec,
            )
        )
    panels = []
    for axis, scale in (('z', 4), ('x', 4), ('y', 4)):
        placed = PlaneView(axis=axis, pixels_per_voxel=scale)(scene, generator)
        panels.append(
            _row(f'along {axis}', placed.cameras, grid, true, predicted, spec)[
                :2
            ]
        )
    rows.append(panels[0])
    rows += panels[1:]
    return contact_sheet(rows, title='Virtual views', spec=spec)


def _row(
    title: str,
    cameras: Cameras,
    grid: VoxelGrid,
    true: Tensor,
    predicted: Tensor,
    spec: LabelSpec,
) -> list[tuple[str, np.ndarray]]:
    """Panels: true classes, predicted classes, true depth."""
    truth = splat_volume(true, grid, spec, cameras)
    guess = splat_volume(predicted, grid, spec, cameras)
    depth = 255 * (1 - truth.expected_depth()[0] / FAR).clamp(0, 1)
    depth[truth.alpha[0] < 0.5] = 0
    gray = depth.to(torch.uint8)[..., None].expand(-1, -1, 3)
    pictures = [
        with_note(
            splat_pictures(out, spec)[0], nothing_shown(occ.numpy(), spec)
        )
        for out, occ in ((truth, true), (guess, predicted))
    ]
    return [
        (f'{title}: truth', pictures[0]),
        ('prediction', pictures[1]),
        ('true depth', gray.numpy()),
    ]


if __name__ == '__main__':
    main()
