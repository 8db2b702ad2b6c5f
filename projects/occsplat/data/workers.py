"""The same work for every key frame, in one process or in several."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, Callable, Iterator, Sequence

import torch
from tqdm import tqdm

from occsplat.structures import MissingPackageError

from .errors import DataError


def each_frame(
    work: Callable[[dict[str, Any]], Any],
    records: Sequence[dict[str, Any]],
    workers: int = 1,
    progress: bool = True,
) -> Iterator[Any]:
    """What the work gives for each key frame, in order.

    Args:
        work: what to do with a record; a function of a module, so that
            other processes find it, or a ``partial`` of one.
        records: of the key frames, see ``frame_record``.
        workers: number of processes.
        progress: whether to show a progress bar.

    Raises:
        ValueError: when there are no workers.
        DataError, FileNotFoundError, MissingPackageError: as the work
            raises them.
        RuntimeError: for whatever else goes wrong in it, a worker that
            the system kills included; names the key frame if it can.
    """
    if workers < 1:
        raise ValueError(f'workers must be 1 or more, got {workers}')
    named = partial(_named, work)
    with ExitStack() as stack:
        if workers == 1:
            done = map(named, records)
        else:
            methods = multiprocessing.get_all_start_methods()
            # forked workers need not import everything once more
            kind = 'fork' if 'fork' in methods else 'spawn'
            # unlike multiprocessing's own pool, it notices dead workers
            pool = ProcessPoolExecutor(
                workers,
                multiprocessing.get_context(kind),
                torch.set_num_threads,
                (1,),
            )
            stack.enter_context(pool)
            done = pool.map(named, records, chunksize=4)
        yield from tqdm(
            done, total=len(records), unit='frame', disable=not progress
        )


def _named(work: Callable, record: dict[str, Any]) -> Any:
    """The work's result; errors say which key frame they belong to."""
    try:
        return work(record)
    except (DataError, FileNotFoundError, MissingPackageError):
        # these name their file or package
        raise
    except OSError as error:
        # so does the system, but for what it was about
        raise DataError(f'key frame {record["token"]!r}: {error}') from error
    except Exception as error:
        raise RuntimeError(
            f'key frame {record["token"]!r} of scene '
            f'{record["scene_name"]!r}: {type(error).__name__}: {error}'
        ) from error
