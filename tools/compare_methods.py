"""Train and test configs with several seeds, and tell what differs.

python tools/compare_methods.py BASELINE_CONFIG METHOD_CONFIG --seeds 0 1
python tools/compare_methods.py --rows ROWS_FILE --jobs 2

Each run has a folder of its own, <work dir>/<name of the row>_seed<k>. A
second call goes on where the first was stopped: runs that have their
metrics are not repeated. Only changes of the config are noticed: after
changes of the code delete the folders. The table and <work dir>/index.html
are written anew after each run. See docs/bench.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from comparison.jobs import side_by_side
from comparison.report import Report
from comparison.results import METRICS
from comparison.rows import (
    Row,
    chosen_rows,
    read_rows,
    rows_of_configs,
    with_options,
)
from comparison.runs import (
    Run,
    commit,
    machine,
    plan_runs,
    prepare,
    steps,
)
from occsplat.engine import (
    ConfigError,
    check_file,
    default_threads,
    user_errors,
)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'configs',
        nargs='*',
        metavar='CONFIG',
        help='config files, the first is the baseline',
    )
    parser.add_argument(
        '--rows', metavar='FILE', help='a file of rows, in place of configs'
    )
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='ROW',
        help='of a file of rows those of these names, and their baselines',
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        help='default: 0, with a file of rows 0 1 2 3 4',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='runs side by side; more than one have one thread each',
    )
    parser.add_argument(
        '--out', help='the table (default: comparison.md in the work dir)'
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/comparison',
        help='where the runs go (default: work_dirs/comparison)',
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        help=f'columns (default: those there are of {" ".join(METRICS)}); '
        'claims of rows come on top',
    )
    parser.add_argument(
        '--calibrate',
        action='store_true',
        help='before a test set the opacity threshold of heads that have '
        'one, see calibrate_threshold.py; the tables are in the folders',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='passed to every run',
    )
    return parser


def rows_of(args: argparse.Namespace) -> list[Row]:
    """The rows that the command line names, one way or the other.

    Raises:
        ConfigError: when it names none, or does so both ways.
    """
    if bool(args.configs) == (args.rows is not None):
        raise ConfigError('name either config files, or --rows FILE')
    if args.jobs < 1:
        raise ConfigError(f'--jobs must be at least 1, got {args.jobs}')
    rows = read_rows(args.rows) if args.rows else rows_of_configs(args.configs)
    if args.only:
        rows = chosen_rows(rows, args.only)
    return with_options(rows, args.cfg_options)


def run_all(args: argparse.Namespace, report: Report) -> None:
    """Execute what is not done yet; the report follows."""
    missing = {}
    for run in report.runs:
        if run.done:
            print(f'{run.folder} has its metrics', flush=True)
        else:
            missing[run] = steps(run, args.calibrate)

    def failed(run: Run, reason: str) -> None:
        report.failures.append(reason)
        print(f'failed: {reason}', flush=True)

    side_by_side(
        missing,
        args.jobs,
        finished=lambda run: report.write(),
        failed=failed,
        # side by side, a second thread takes from the other run
        threads=1 if args.jobs > 1 else None,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Compare as the command line says."""
    argv = sys.argv[1:] if argv is None else argv
    args = make_parser().parse_args(argv)
    with user_errors():
        work_dir = Path(args.work_dir)
        table = Path(args.out or work_dir / 'comparison.md')
        check_file(table)
        rows = rows_of(args)
        seeds = args.seeds or (range(5) if args.rows else [0])
        runs = plan_runs(rows, seeds, work_dir)
        threads = 1 if args.jobs > 1 else default_threads()
        about = dict(machine=machine(threads, args.jobs), commit=commit())
        for run in runs:  # mistakes before hours of training
            prepare(run, about)
        page = work_dir / 'index.html'
        report = Report(argv, rows, runs, table, page, args.metrics)
        run_all(args, report)
        text = report.write(last=True)
    if text:
        print(f'{text}\nThe table is in {table}, the page in {page}')
    if report.failures:
        reasons = '\n'.join(f'  {why}' for why in report.failures)
        count = f'{len(report.failures)} of {len(runs)} runs failed'
        raise SystemExit(f'error: {count}:\n{reasons}')


if __name__ == '__main__':
    main()
