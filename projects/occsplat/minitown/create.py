"""Creates a MiniTown: a data set that reads like nuScenes v1.0-mini."""

from __future__ import annotations

import json
import multiprocessing
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from occsplat.data import sets  # noqa: F401  the labels that it writes
from occsplat.structures import DataError, check_writable

from .frames import (
    STATE,
    UNFINISHED,
    Job,
    Settings,
    write_bytes,
    write_frame,
)
from .tables import MAP_FILE, VERSION, Tables
from .world import MAX_FRAMES, SCENES


def create_minitown(
    root: str | Path,
    scenes: int = 10,
    frames: int = 20,
    image_size: tuple[int, int] = (800, 450),
    seed: int = 0,
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Create a MiniTown, or finish one that was interrupted.

    The same arguments give the same bytes, whatever the number of workers.
    What is on disk already is neither computed nor written again, and what
    has been deleted comes back. `scenes` may grow from one call to the
    next; the other arguments belong to the root.

    Args:
        root: folder of the data set; nuScenes' dataroot.
        scenes: number of scenes, 2 to 10; the first two hold one of
            mini_train and one of mini_val.
        frames: key frames per scene, 2 to 20, half a second apart.
        image_size: (width, height) in pixels.
        seed: of all randomness.
        workers: number of processes.
        progress: whether to show a progress bar.

    Returns:
        Path: the root.

    Raises:
        ValueError: if an argument is out of range.
        DataError: if the root holds a MiniTown with other arguments or
            with more scenes, or can't be written to.
    """
    _check_range('scenes', scenes, 2, len(SCENES))
    _check_range('frames', frames, 2, MAX_FRAMES)
    _check_range('image width', image_size[0], 16, 1600)
    _check_range('image height', image_size[1], 16, 900)
    _check_range('workers', workers, 1, 256)
    root = Path(root)
    settings = Settings(frames, image_size[0], image_size[1], seed)
    check_writable(root)
    _check_root(root, settings, scenes)
    for half_written in root.rglob(f'*{UNFINISHED}'):
        half_written.unlink()
    jobs = [
        Job(root, settings, scene, frame)
        for scene in range(scenes)
        for frame in range(frames)
    ]
    _run(jobs, workers, max(frames // 2, 1), progress)
    write_bytes(root / MAP_FILE, _empty_map())
    tables = Tables(root, settings)
    for scene in range(scenes):
        tables.add_scene(scene)
    for name, content in tables.finished().items():
        write_bytes(root / VERSION / f'{name}.json', content)
    return root


def _check_range(name: str, value: int, low: int, high: int) -> None:
    """Raise unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(
            f'MiniTown: {name} must be {low} to {high}, got {value}'
        )


def _check_root(root: Path, settings: Settings, scenes: int) -> None:
    """Make sure that the root is free or belongs to these settings."""
    path = root / STATE / 'settings.json'
    wanted = asdict(settings)
    if not path.exists():
        write_bytes(path, json.dumps(wanted).encode())
        return
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f'{path} cannot be read ({error}): it says which MiniTown {root} '
            'holds; choose another root or delete this one'
        ) from error
    if found != wanted:
        raise DataError(
            f'{root} holds a MiniTown with {found}, not {wanted}; choose '
            'another root or delete this one'
        )
    present = [
        n
        for n, name in enumerate(SCENES)
        if any((root / STATE).glob(f'{name}_*.json'))
    ]
    if present and max(present) >= scenes:
        raise DataError(
            f'{root} holds {max(present) + 1} scenes, more than the '
            f'{scenes} asked for; choose another root or delete this one'
        )


def _run(jobs: list[Job], workers: int, chunk: int, progress: bool) -> None:
    """Write all frames, in one process or in several."""
    if workers == 1:
        pool = nullcontext()
    else:
        # compiles the kernels once; forked workers inherit them
        write_frame(jobs[0])
        methods = multiprocessing.get_all_start_methods()
        kind = 'fork' if 'fork' in methods else 'spawn'
        context = multiprocessing.get_context(kind)
        pool = context.Pool(workers, cv2.setNumThreads, (0,))
    bar = tqdm(total=len(jobs), unit='frame', disable=not progress)
    with pool as running, bar:
        if running is None:
            done = map(write_frame, jobs)
        else:
            done = running.imap_unordered(write_frame, jobs, chunk)
        for _ in done:
            bar.update()


def _empty_map() -> bytes:
    """The map mask that nuscenes-devkit wants to see; MiniTown has none."""
    done, data = cv2.imencode('.png', np.zeros((16, 16), np.uint8))
    if not done:
        raise RuntimeError('OpenCV could not encode the map as PNG')
    return data.tobytes()
