"""Take runs of a comparison into the tables of docs/results.md.

python tools/publish_bench.py
python tools/publish_bench.py --add work_dirs/bench --machine '2 cores'

Without --add the tables are made anew from docs/bench_runs.csv, after a
change of the document. --add takes the complete runs of a work dir of
tools/compare_methods.py into that file first; a run that is there already,
with the same row, machine and seed, is replaced. See docs/results.md,
"Where the figures come from".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from comparison.published import (
    fill,
    finished_runs,
    merged,
    read_runs,
    write_runs,
)
from comparison.runs import write_text
from occsplat.engine import user_errors

DOCS = Path(__file__).resolve().parents[1] / 'docs'


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--add', type=Path, metavar='WORK_DIR', help='runs to take in'
    )
    parser.add_argument(
        '--machine',
        help='what --add ran on: rows are compared with baselines of the '
        'same name alone',
    )
    parser.add_argument('--runs', type=Path, default=DOCS / 'bench_runs.csv')
    parser.add_argument('--document', type=Path, default=DOCS / 'results.md')
    return parser


def main() -> None:
    """Run the command line."""
    parser = make_parser()
    args = parser.parse_args()
    if bool(args.add) != bool(args.machine):
        parser.error('--add and --machine go together')
    with user_errors():
        runs, metrics = read_runs(args.runs)
        if args.add:
            new = finished_runs(args.add, args.machine)
            runs = merged(runs, new)
            write_runs(args.runs, runs, metrics)
            # with the digits of the file, as the next call will
            runs, _ = read_runs(args.runs)
            print(f'{args.runs}: {len(new)} runs of {args.add}')
        text = args.document.read_text(encoding='utf-8')
        write_text(args.document, fill(text, runs))
        print(f'{args.document}: tables of {len(runs)} runs')


if __name__ == '__main__':
    main()
