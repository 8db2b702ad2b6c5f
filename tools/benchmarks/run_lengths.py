"""Time of run lengths, beside the loop over slices that defines them.

Shape letters: X Y Z voxels, x y z every s-th of them.
"""

from __future__ import annotations

import statistics
import time
from typing import Callable

import torch
from torch import Tensor

from occsplat.data.sets.nuscenes_classes import NUSCENES_GRID
from occsplat.ops import run_lengths
from occsplat.ops.run_lengths import by_slices
from occsplat.structures import LabelSpec, VoxelGrid

from .rows import SEED, in_new_process, print_header

#: SemanticKITTI's: 0.2 m voxels in front of the car
KITTI_GRID = VoxelGrid(
    range=(0, -25.6, -2, 51.2, 25.6, 4.4), shape=(256, 256, 32)
)
#: grid and stride of each row
CASES = ((KITTI_GRID, 4), (KITTI_GRID, 1), (NUSCENES_GRID, 2))


def town_labels(grid: VoxelGrid) -> Tensor:
    """OpenOcc ids of a MiniTown frame, uint8 (X, Y, Z)."""
    from occsplat.minitown import build_world, voxelise
    from occsplat.minitown.classes import occupancy_ids

    category, _ = voxelise(build_world(0, SEED), 0.0, grid)
    ids = occupancy_ids(LabelSpec.named('openocc'))
    return torch.from_numpy(ids[category])


def measure_run_lengths(
    grid: VoxelGrid, stride: int, rounds: int
) -> list[tuple[float, float]]:
    """Milliseconds of the loop and of run_lengths, in turn, by round.

    Time of the one core that they use, whatever else the machine does.

    Raises:
        RuntimeError: when the two disagree.
    """
    torch.set_num_threads(1)
    labels = town_labels(grid)
    # the first call compiles
    if not torch.equal(run_lengths(labels, stride), by_slices(labels, stride)):
        raise RuntimeError('run_lengths and the loop over slices disagree')
    return [
        (
            milliseconds(lambda: by_slices(labels, stride)),
            milliseconds(lambda: run_lengths(labels, stride)),
        )
        for _ in range(rounds)
    ]


def milliseconds(function: Callable[[], object]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    function()
    return 1e3 * (time.process_time() - start)


def print_run_lengths_table(rounds: int) -> None:
    """A row for each grid and stride, medians over the rounds."""
    print_header(
        '| labels, stride |', ['slices ms', 'run_lengths ms', 'ratio (range)']
    )
    for grid, stride in CASES:
        times = in_new_process(measure_run_lengths, grid, stride, rounds)
        slices, ours = map(statistics.median, zip(*times))
        ratios = [a / b for a, b in times]
        print(
            f'| {"x".join(map(str, grid.shape))}, {stride} | {slices:.0f} | '
            f'{ours:.1f} | {statistics.median(ratios):.0f} '
            f'({min(ratios):.0f} to {max(ratios):.0f}) |',
            flush=True,
        )
