"""Train and test configs with several seeds, and write a table.

python tools/compare_methods.py BASELINE_CONFIG METHOD_CONFIG --seeds 0 1

Each run has a folder of its own, <work dir>/<config>_seed<k>. A second
call goes on where the first was stopped: runs that have their metrics are
not repeated. Only changes of the config are noticed: after changes of the
code delete the folders.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment  # noqa: E402

check_environment()

import torch  # noqa: E402

import occsplat  # noqa: E402,F401  before mmdet3d, which needs its shims
from occsplat.engine import (  # noqa: E402
    ConfigError,
    check_file,
    latest_checkpoint,
    load_config,
    user_errors,
)
from occsplat.structures.files import whole_file  # noqa: E402
from train import make_parser as train_parser  # noqa: E402

TOOLS = Path(__file__).resolve().parent
METRICS = ('RayIoU', 'RayIoU@1', 'RayIoU@2', 'RayIoU@4', 'mIoU', 'mAVE')
#: what a folder was made from: config, seed, machine
RECORD = 'run.json'

Scores = Mapping[str, float]


class Run(NamedTuple):
    """One config with one seed."""

    config: str
    seed: int
    folder: Path
    cfg_options: tuple[str, ...]

    @property
    def name(self) -> str:
        """The config's, which names its rows."""
        return Path(self.config).stem

    def options(self) -> list[str]:
        """What every tool takes at the end."""
        seed = f'randomness.seed={self.seed}'
        return ['--cfg-options', *self.cfg_options, seed]

    def arguments(self) -> list[str]:
        """What train.py and test.py take after the positional ones."""
        return ['--work-dir', str(self.folder), *self.options()]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='config files, the first is the baseline',
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], help='default: 0'
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
        help=f'columns (default: those there are of {" ".join(METRICS)})',
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


def plan_runs(args: argparse.Namespace) -> list[Run]:
    """Every config with every seed, all configs with the first seed first.

    Raises:
        ConfigError: when two runs would share a folder, or an option sets
            the seed.
    """
    stems = [Path(config).stem for config in args.configs]
    for what, values in (('config names', stems), ('--seeds', args.seeds)):
        if len(set(values)) < len(values):
            raise ConfigError(
                f'{what} must differ from each other, got '
                f'{" ".join(map(str, values))}'
            )
    if any(o.startswith('randomness.seed=') for o in args.cfg_options):
        raise ConfigError('--cfg-options sets the seed: use --seeds')
    return [
        Run(
            config,
            seed,
            Path(args.work_dir) / f'{stem}_seed{seed}',
            tuple(args.cfg_options),
        )
        for seed in args.seeds
        for config, stem in zip(args.configs, stems)
    ]


def prepare(run: Run) -> None:
    """Make the run's folder, or see that it belongs to this very run.

    Raises:
        ConfigError: when the folder is that of another config or seed.
    """
    parsed = train_parser().parse_args([run.config, *run.arguments()])
    cfg = load_config(run.config, parsed.cfg_options).to_dict()
    # as it will be read again: tuples become lists, types their names
    content = json.loads(json.dumps(cfg, default=str))
    path = run.folder / RECORD
    advice = f'delete {run.folder} or name another --work-dir'
    if path.is_file():
        found = read_json(path)['config']
        if found != content:
            raise ConfigError(
                f'{run.folder} is a run of another config, which differs in '
                f'{first_difference(found, content)}: {advice}'
            )
    elif run.folder.is_dir() and any(run.folder.iterdir()):
        raise ConfigError(f'{run.folder} has files but no {RECORD}: {advice}')
    else:
        record = dict(config=content, machine=machine())
        write_text(path, json.dumps(record, indent=2) + '\n')


def first_difference(old: Any, new: Any, path: str = '') -> str:
    """Where two configs differ, as a key path with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        items = [
            (f'{path}.{key}', old.get(key), new.get(key))
            for key in sorted(old.keys() | new.keys())
        ]
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f'{path[1:]} ({len(old)} items, now {len(new)})'
        items = [
            (f'{path}.{i}', *pair) for i, pair in enumerate(zip(old, new))
        ]
    else:
        return f'{path[1:]} ({old!r}, now {new!r})'
    for deeper, a, b in items:
        if a != b:
            return first_difference(a, b, deeper)
    return f'{path[1:]} (a key without a value)'


def has_threshold(run: Run) -> bool:
    """Whether the occupancy head decides by an opacity threshold."""
    model = read_json(run.folder / RECORD)['config']['model']
    return 'opacity_threshold' in model.get('occ_head', {})


def execute(run: Run, calibrate: bool = False) -> None:
    """Train, calibrate if asked to, and test, unless that is done.

    Raises:
        ConfigError: when training leaves no checkpoint.
        SystemExit: when a child fails.
    """
    if (run.folder / 'metrics.json').is_file():
        print(f'{run.folder} has its metrics', flush=True)
        return
    # goes on from the newest checkpoint, if there is one
    call('train', [run.config, '--resume', *run.arguments()], run)
    checkpoint = latest_checkpoint(run.folder)
    if checkpoint is None:
        raise ConfigError(
            f'training left no checkpoint in {run.folder}: does the config '
            'have a CheckpointHook?'
        )
    trained = [run.config, str(checkpoint)]
    if calibrate and has_threshold(run):
        tables = ['--out', str(run.folder), *run.options()]
        call('calibrate_threshold', [*trained, *tables], run)
    call('test', [*trained, *run.arguments()], run)


def call(tool: str, arguments: Sequence[str], run: Run) -> None:
    """Run a tool to its end, with its output in a log.

    Raises:
        SystemExit: when it fails; the message names the log.
    """
    log = run.folder / f'{tool}.log'
    print(f'{tool} {run.name}, seed {run.seed}: see {log}', flush=True)
    script = str(TOOLS / f'{tool}.py')
    status = run_child([sys.executable, script, *arguments], log)
    if status != 0:
        raise SystemExit(
            f'error: {tool}.py of {run.name}, seed {run.seed}, failed with '
            f'status {status}: see {log}'
        )


def run_child(command: Sequence[str], log: Path) -> int:
    """Run a command, its output appended to a file; the exit status.

    Who stops this process stops the command, which may complete its step.
    """
    with log.open('a', encoding='utf-8') as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            return child.wait()
        except SystemExit:
            child.terminate()
            child.wait()
            raise


def read_scores(run: Run) -> Scores:
    """What test.py wrote; nan where a metric is not defined."""
    scores = read_json(run.folder / 'metrics.json')['metrics']
    return {k: math.nan if v is None else v for k, v in scores.items()}


def choose_metrics(
    wanted: Sequence[str] | None, scores: Sequence[Scores]
) -> list[str]:
    """The columns.

    Raises:
        ConfigError: when a metric that was asked for is in no run.
    """
    there = {name for each in scores for name in each}
    if wanted is None:
        chosen = [name for name in METRICS if name in there]
    else:
        chosen = [name for name in wanted if name in there]
    missing = [name for name in wanted or () if name not in there]
    if missing or not chosen:
        raise ConfigError(
            f'no run has {", ".join(missing or METRICS)}; --metrics can be '
            f'of {", ".join(sorted(there))}'
        )
    return chosen


def table(
    results: Mapping[str, Mapping[int, Scores]], metrics: Sequence[str]
) -> str:
    """A row a run, the means of each config, differences to the first.

    Args:
        results: scores by config name and seed; the first is the baseline.
        metrics: the columns.

    Returns:
        str: a Markdown table.
    """
    lines = [
        ['config', 'seed', *metrics],
        ['---', '---', *('--:' for _ in metrics)],
    ]
    baseline: list[float] | None = None
    for name, runs in results.items():
        columns = [
            [scores.get(metric, math.nan) for scores in runs.values()]
            for metric in metrics
        ]
        for seed, values in zip(runs, zip(*columns)):
            lines.append([name, str(seed), *map(cell, values)])
        means = [statistics.fmean(values) for values in columns]
        label = f'mean of {count_seeds(len(runs))}'
        lines.append([f'**{name}**', label, *map(cell, means)])
        if baseline is None:
            baseline = means
            continue
        differences = [
            cell(mean - other, '+') for mean, other in zip(means, baseline)
        ]
        lines.append(['', 'mean - baseline', *differences])
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def cell(value: float, sign: str = '') -> str:
    """Four digits, a dash for what is not defined."""
    return '-' if math.isnan(value) else f'{value:{sign}.4f}'


def count_seeds(number: int) -> str:
    """'1 seed' or '2 seeds'."""
    return f'{number} seed' + ('s' if number > 1 else '')


def document(
    argv: Sequence[str], runs: Sequence[Run], metrics: Sequence[str] | None
) -> str:
    """The table, and what it comes from.

    Raises:
        ConfigError: when no run has a metric that was asked for.
    """
    results: dict[str, dict[int, Scores]] = {}
    for run in runs:
        results.setdefault(run.name, {})[run.seed] = read_scores(run)
    scores = [s for by_seed in results.values() for s in by_seed.values()]
    seeds = list(dict.fromkeys(run.seed for run in runs))
    machines = {read_json(run.folder / RECORD)['machine'] for run in runs}
    command = shlex.join(['python', 'tools/compare_methods.py', *argv])
    if len(seeds) == 1:
        caution = 'With one seed, any difference can be chance.'
    else:
        caution = (
            'A difference no larger than what seeds make of one config can '
            'be chance.'
        )
    return (
        f'`{command}`\n\n'
        f'Machine: {"; ".join(sorted(machines))}. '
        f'From {count_seeds(len(seeds))} a config '
        f'({", ".join(map(str, seeds))}), the last checkpoint of each run. '
        f'{caution}\n\n' + table(results, choose_metrics(metrics, scores))
    )


def machine() -> str:
    """What figures of this process depend on."""
    device = platform.machine()
    if torch.cuda.is_available():
        device += f', {torch.cuda.get_device_name()}'
    return (
        f'{device}, {torch.get_num_threads()} threads, Python '
        f'{platform.python_version()}, torch {torch.__version__}'
    )


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file.

    Raises:
        ConfigError: when it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise ConfigError(f'{path} is damaged: {error}') from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(text, encoding='utf-8')


def main(argv: Sequence[str] | None = None) -> None:
    """Compare as the command line says."""
    argv = sys.argv[1:] if argv is None else argv
    args = make_parser().parse_args(argv)
    with user_errors():
        path = Path(args.out or Path(args.work_dir) / 'comparison.md')
        check_file(path)
        runs = plan_runs(args)
        for run in runs:  # mistakes before hours of training
            prepare(run)
        for run in runs:
            execute(run, args.calibrate)
        text = document(argv, runs, args.metrics)
        write_text(path, text)
    print(f'{text}\nThe table is in {path}')


if __name__ == '__main__':
    main()
