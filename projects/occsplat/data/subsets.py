"""A fixed part of the training split, for ablations that are to compare."""

from __future__ import annotations

import random
from pathlib import Path

from .errors import DataError
from .info_files import read_infos, write_infos


def create_subset(
    root: str | Path, percent: int, seed: int
) -> tuple[Path, int]:
    """Write an info file of some key frames of the training split.

    Of all N key frames, in the order of the training split's info file (by
    scene and time), ``random.Random(seed).sample(range(N), N * percent //
    100)`` are drawn, in Python, whose generator is the same everywhere; they
    keep their order. So the same tables and the same seed give the same
    frames.

    Args:
        root: data root with ``occsplat_infos_train.pkl``.
        percent: of the key frames, 1 to 99.
        seed: of the draw.

    Returns:
        tuple: the file, ``occsplat_infos_train_<percent>percent.pkl`` in the
        root, and how many key frames it has.

    Raises:
        FileNotFoundError: when the split has no info file.
        DataError: when so small a part has no key frame.
    """
    infos = read_infos(root, 'train')
    frames = infos['data_list']
    count = len(frames) * percent // 100
    if not count:
        raise DataError(
            f'{percent} % of the {len(frames)} key frames of {root} is none'
        )
    drawn = sorted(random.Random(seed).sample(range(len(frames)), count))
    part = dict(infos, data_list=[frames[i] for i in drawn])
    path = Path(root) / f'occsplat_infos_train_{percent}percent.pkl'
    write_infos(path, part)
    return path, count
