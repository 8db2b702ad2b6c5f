"""Broken and hostile files of predictions."""

from __future__ import annotations

import gzip
import io
import pickle
import random
from pathlib import Path
from typing import Any, Callable, Iterator

import mutate
import numpy as np

from occsplat.evaluation.ray_files import read_challenge_info, read_ray_file
from occsplat.evaluation.volume_files import read_volumes
from occsplat.structures import LabelSpec, VoxelGrid

Case = tuple[str, Callable[[], Any], bool]
SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(range=(0, 0, 0, 4, 4, 2), shape=(8, 8, 4))
RAYS = 14040


def rays(count: int = RAYS) -> dict[str, np.ndarray]:
    """One frame of a ray file."""
    return dict(
        pcd_cls=np.zeros(count, np.uint8),
        pcd_dist=np.ones(count, np.float16),
        pcd_flow=np.zeros((count, 2), np.float16),
    )


def cases(folder: Path, rng: random.Random, canary: Path) -> Iterator[Case]:
    """Ray files and saved volumes."""
    path = folder / 'rays.gz'

    def ray_file(raw: bytes) -> Callable[[], Any]:
        def call() -> None:
            path.write_bytes(raw)
            read_ray_file(path)

        return call

    def content(value: Any) -> bytes:
        return gzip.compress(pickle.dumps(value), 1)

    whole = dict(method='x', results=dict(a=rays()))
    ray_file(content(whole))()
    for name, raw in mutate.FOREIGN.items():
        yield f'rays {name}', ray_file(raw), True
    for name, raw in mutate.hostile(canary):
        yield f'rays {name}', ray_file(gzip.compress(raw, 1)), True
    for name, raw in mutate.damaged(pickle.dumps(whole), rng, 12):
        yield f'rays {name}', ray_file(gzip.compress(raw, 1)), False
    for key, wrong in (
        ('pcd_cls', np.zeros(RAYS - 1, np.uint8)),
        ('pcd_cls', np.zeros(RAYS)),
        ('pcd_cls', None),
        ('pcd_dist', np.full(RAYS, np.nan, np.float16)),
        ('pcd_dist', np.zeros((RAYS, 2), np.float16)),
        ('pcd_flow', np.full((RAYS, 2), np.inf, np.float16)),
        ('pcd_flow', 'x'),
    ):
        changed = dict(results=dict(a=rays() | {key: wrong}))
        yield f'rays: {key} {wrong!r:.30}', ray_file(content(changed)), True
    for wrong in (None, [], dict(results=[]), dict(results=dict(a=3)), 'x'):
        yield f'rays hold {wrong!r}', ray_file(content(wrong)), True
    yield from _volumes(folder, rng)
    about = folder / 'info.json'
    for wrong in ('[', '[]', '{"team": 3}', '{"teem": "x"}', '\x00'):

        def read_about(text: str = wrong) -> None:
            about.write_text(text)
            read_challenge_info(about)

        yield f'challenge info {wrong!r}', read_about, True


def _volumes(folder: Path, rng: random.Random) -> Iterator[Case]:
    path = folder / 'preds.npz'

    def volume(raw: bytes) -> Callable[[], Any]:
        def call() -> None:
            path.write_bytes(raw)
            read_volumes(path, SPEC, GRID)

        return call

    def npz(**arrays: Any) -> bytes:
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    occ = np.full(GRID.shape, SPEC.free, np.uint8)
    flow = np.zeros((*GRID.shape, 2), np.float32)
    offsets = np.ones((6, *GRID.shape), np.float32)
    whole = npz(semantics=occ, flow=flow, offsets=offsets)
    volume(whole)()
    for name, raw in mutate.FOREIGN.items():
        yield f'volume {name}', volume(raw), True
    for name, raw in mutate.damaged(whole, rng, 12):
        yield f'volume {name}', volume(raw), name.startswith('cut')
    for name, arrays in (
        ('id 255', dict(semantics=np.full_like(occ, 255))),
        ('unknown id', dict(semantics=np.full_like(occ, 60))),
        ('floats', dict(semantics=occ.astype(float))),
        ('cut', dict(semantics=occ[1:])),
        ('objects', dict(semantics=occ.astype(object))),
        ('nan flow', dict(semantics=occ, flow=flow * np.nan)),
        ('inf offsets', dict(semantics=occ, offsets=offsets / 0)),
        ('text', dict(semantics=occ, flow=flow.astype('U3'))),
    ):
        yield f'volume {name}', volume(npz(**arrays)), True
