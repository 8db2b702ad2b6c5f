"""Feed broken and hostile inputs to every door of the package.

    python tests/fuzz/run.py FOLDER [--seed 0]

In a process of its own, since a file that crashes it must show. Prints one
JSON object: how many inputs of each kind there were, and what went wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import re
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import checkpoints  # noqa: E402
import configs  # noqa: E402
import data_files  # noqa: E402
import metric_files  # noqa: E402

from occsplat.data import DataError  # noqa: E402
from occsplat.engine import CheckpointError, ConfigError  # noqa: E402

KINDS = (checkpoints, data_files, metric_files, configs)
#: what the tools print as one line
TOLD = (CheckpointError, ConfigError, DataError, FileNotFoundError)
#: what nothing that is read may start
ACTIONS = re.compile(
    r'os\.(system|exec|posix_spawn|spawn|startfile|fork)|subprocess\.'
    r'|pty\.spawn|socket\.connect|ctypes\.dlopen|webbrowser'
)
_acted: list[str] = []


def _watch(event: str, args: tuple) -> None:
    if ACTIONS.match(event):
        _acted.append(f'{event} {args!r:.80}')


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    counts: dict[str, int] = {}
    told = 0
    faults: list[str] = []
    canary = args.folder / 'canary'
    prepared = []
    for kind in KINDS:
        folder = args.folder / kind.__name__
        folder.mkdir(parents=True)
        rng = random.Random(args.seed)
        prepared.append((kind.__name__, kind.cases(folder, rng, canary)))
    # every data set that is built collects garbage: not among the imports
    gc.freeze()
    sys.addaudithook(_watch)
    for kind, cases in prepared:
        for name, call, must_fail in cases:
            counts[kind] = counts.get(kind, 0) + 1
            # shown when the process dies in the middle
            print(f'{kind}: {name}', file=sys.stderr, flush=True)
            _acted.clear()
            try:
                call()
            except TOLD as error:
                told += 1
                text = str(error)
                if not text.strip() or '\x1b' in text:
                    faults.append(f'{kind}: {name}: says {text!r}')
                if 'weights_only' in text:
                    faults.append(f'{kind}: {name}: unguarded: {text}')
            except Exception:
                lines = traceback.format_exc().strip().splitlines()
                where = [x for x in lines if x.startswith('  File')][-1]
                faults.append(f'{kind}: {name}: raw {lines[-1]}, {where}')
            else:
                if must_fail:
                    faults.append(f'{kind}: {name}: accepted')
            if _acted:
                faults.append(f'{kind}: {name}: acted: {_acted}')
            if canary.exists():
                faults.append(f'{kind}: {name}: code ran')
                canary.unlink()
    json.dump(
        dict(counts=counts, told=told, faults=faults), sys.stdout, indent=1
    )


if __name__ == '__main__':
    main()
