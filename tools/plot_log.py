"""Draw losses and validations of runs.

python tools/plot_log.py work_dirs/fbocc-tiny_minitown --keys loss RayIoU \
--out outputs/curves.png
python tools/plot_log.py a=work_dirs/a_seed0 a=work_dirs/a_seed1 b=other/run \
--smooth 100 --out outputs/curves.svg

Runs of one label are seeds: their mean is drawn, and a band from the lowest
to the highest. Without LABEL= a run's label is its folder's name, without
_seed<k>. One panel a key; the key of a training's step is drawn over steps,
that of a validation over what the log counts those in, mostly epochs.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Iterable, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from comparison.logs import (
    Curve,
    Log,
    read_log,
    smoothed,
    training_curve,
    validation_curve,
)
from comparison.plots import Curves, draw_curves, panels_figure
from occsplat.engine import ConfigError, check_file, user_errors
from occsplat.structures.files import whole_file

#: what matplotlib writes that people look at
FORMATS = ('.png', '.svg', '.pdf')
_SEED = re.compile(r'_seed\d+$')

#: logs of the seeds by label
Logs = dict[str, list[Log]]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='[LABEL=]DIR',
        help='work dirs, as tools/train.py and tools/compare_methods.py '
        'leave them',
    )
    parser.add_argument(
        '--keys',
        nargs='+',
        default=['loss'],
        help='what to draw: loss terms, lr, time, metrics (default: loss); '
        'one that is not there ends in a list of those that are',
    )
    parser.add_argument(
        '--smooth',
        type=_steps,
        default=0.0,
        metavar='STEPS',
        help='of training curves draw a moving average, in which values '
        'that lie so many steps back have half the weight (default: 0, as '
        'they were logged)',
    )
    parser.add_argument(
        '--out', required=True, help=f'the picture: {", ".join(FORMATS)}'
    )
    return parser


def _steps(text: str) -> float:
    value = float(text)
    if not 0 <= value < float('inf'):
        raise argparse.ArgumentTypeError(f'must be >= 0, got {text}')
    return value


def read_runs(runs: Sequence[str]) -> Logs:
    """The logs that the command line names.

    Raises:
        ConfigError: when a folder is not there or has no log, or is named
            twice.
    """
    logs: Logs = {}
    seen: set[Path] = set()
    for text in runs:
        label, sign, name = text.rpartition('=')
        # a path may have the sign, too
        if not sign or Path(text).exists():
            label, name = '', text
        folder = Path(name).resolve()
        log = read_log(folder)
        if not (log.training or log.validation):
            raise ConfigError(
                f'{name} has no */vis_data/scalars.json with entries: '
                'expected the work dir of a training'
            )
        if folder in seen:
            raise ConfigError(f'{name} is named twice')
        seen.add(folder)
        label = label or _SEED.sub('', folder.name)
        logs.setdefault(label, []).append(log)
    return logs


def curves_of(logs: Logs, key: str, half_life: float) -> tuple[Curves, bool]:
    """Curves of the runs that have a key.

    Returns:
        tuple: them, and whether they are of training steps.

    Raises:
        ConfigError: when no run has it, or seeds share no step.
    """
    every = [log for seeds in logs.values() for log in seeds]
    in_training = any(training_curve(log, key) for log in every)
    if not in_training and not any(
        validation_curve(log, key) for log in every
    ):
        steps = _keys(log.training for log in every)
        scores = _keys(log.validation for log in every)
        scores = [name for name in scores if '_' not in name]
        raise ConfigError(
            f'no run has logged {key!r}, expected one of '
            f'{", ".join(steps)}'
            + (f'; {", ".join(scores)}, or of a class' if scores else '')
        )

    def curve(log: Log) -> Curve:
        if in_training:
            return smoothed(training_curve(log, key), half_life)
        return validation_curve(log, key)

    curves = {}
    for label, seeds in logs.items():
        found = [curve(log) for log in seeds]
        if not any(found):
            continue
        if not set.intersection(*map(set, found)):
            raise ConfigError(
                f'{label}: its {len(found)} runs have logged {key!r} at no '
                'common step: give them labels of their own, LABEL=DIR'
            )
        count = f', {len(found)} runs' if len(found) > 1 else ''
        curves[f'{label}{count}'] = found
    return curves, in_training


def _keys(parts: Iterable[dict]) -> list[str]:
    names = {key for part in parts for entry in part.values() for key in entry}
    return sorted(names - {'step', 'iter', 'epoch'})


def draw(logs: Logs, keys: Sequence[str], half_life: float, out: Path) -> None:
    """Write the picture, a panel a key."""
    panels = [(key, *curves_of(logs, key, half_life)) for key in keys]
    over = 'training step'
    if half_life:
        over += f' (moving average, half-life {half_life:g} steps)'
    with panels_figure(len(panels)) as (figure, columns):
        for axes, (key, curves, in_training) in zip(columns, panels):
            title = key
            if any(len(seeds) > 1 for seeds in curves.values()):
                title += ': mean of the runs, and from lowest to highest'
            xlabel = over if in_training else 'validation at'
            draw_curves(axes, title, curves, xlabel, key)
        with whole_file(out) as part:
            metadata = {'.svg': dict(Date=None)}.get(out.suffix)
            figure.savefig(
                part, format=out.suffix[1:], dpi=150, metadata=metadata
            )


def main(argv: Sequence[str] | None = None) -> Path:
    """Draw as the command line says; returns the file."""
    args = make_parser().parse_args(argv)
    with user_errors():
        out = Path(args.out)
        if out.suffix not in FORMATS:
            raise ConfigError(
                f'--out {out}: expected a name that ends in one of '
                f'{", ".join(FORMATS)}'
            )
        check_file(out)
        draw(read_runs(args.runs), args.keys, args.smooth, out)
        print(out)
        return out


if __name__ == '__main__':
    main()
