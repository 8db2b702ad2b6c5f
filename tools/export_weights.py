"""Write the weights of a checkpoint as a file that is safe to share.

python tools/export_weights.py work_dirs/NAME/epoch_5.pth --out NAME.safetensors
python tools/export_weights.py work_dirs/NAME/epoch_5.pth --out NAME.safetensors --half

Only what prediction needs: no optimizer, no schedules, no render heads. All
options that take a checkpoint take the file. Its header tells where the
weights are from: config, seed, epoch, classes, opacity threshold, commit,
this command, and the scores of metrics.json if it lies beside the
checkpoint and is of it.
"""  # noqa: E501 commands are not broken

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch
from torch import Tensor

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    SAFETENSORS,
    TRAIN_ONLY,
    ConfigError,
    check_file,
    read_weights,
    user_errors,
    write_safetensors,
)

ROOT = Path(__file__).resolve().parents[1]
#: what the file keeps of a checkpoint's meta; the rest is of use to the run
#: that wrote it alone
KEPT = (
    *('epoch', 'iter', 'seed', 'experiment_name', 'time', 'dataset_meta'),
    *('opacity_threshold', 'opacity_threshold_found'),
    # of a file that this tool wrote
    *('config', 'metrics'),
)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        required=True,
        metavar=f'FILE{SAFETENSORS}',
        help='the file; one that is there is replaced',
    )
    parser.add_argument(
        '--half',
        action='store_true',
        help='store numbers of 32 bits in 16; they become those of the '
        'model again when they are loaded',
    )
    return parser


def inference_weights(
    state: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], list[str]]:
    """What prediction needs.

    Args:
        state: weights of a whole model by name.

    Returns:
        tuple: the weights by name, and the names that are left out.
    """
    left_out = [name for name in state if name.startswith(TRAIN_ONLY)]
    weights = {k: v for k, v in state.items() if k not in set(left_out)}
    return weights, left_out


def halved(
    weights: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], list[str]]:
    """Weights as float16, but for those that it has no numbers for.

    Args:
        weights: by name. Counters and other whole numbers stay.

    Returns:
        tuple: the weights by name, and the names of those that are too
        large for float16 and stay what they are.
    """
    result, large = {}, []
    limit = torch.finfo(torch.float16).max
    for name, value in weights.items():
        if value.is_floating_point() and value.dtype.itemsize > 2:
            # what is not finite is no reason
            if (value.nan_to_num(0, 0, 0).abs() > limit).any():
                large.append(name)
            else:
                value = value.half()
        result[name] = value
    return result, large


def provenance(
    meta: Mapping[str, Any], checkpoint: Path, command: Sequence[str]
) -> dict[str, Any]:
    """Where weights are from.

    Args:
        meta: of the checkpoint.
        checkpoint: the file.
        command: this tool's command line, in words.

    Returns:
        dict: what JSON can hold: of ``KEPT`` what is there, ``command``,
        and ``commit``, ``config`` and ``metrics`` where they are known.
    """
    about = {key: meta[key] for key in KEPT if key in meta}
    # mmengine names a run after its config and the time
    run = re.fullmatch(
        r'(.+)_\d{8}_\d{6}', str(meta.get('experiment_name', ''))
    )
    if run:
        about['config'] = run[1]
    scores = scores_of(checkpoint)
    if scores is not None:
        about['metrics'] = scores
    commit = commit_here()
    if commit is not None:
        about['commit'] = commit
    about['command'] = shlex.join(command)
    return about


def scores_of(checkpoint: Path) -> dict[str, Any] | None:
    """What metrics.json beside a checkpoint says of it, if it is of it.

    Raises:
        ConfigError: when the file can't be read.
    """
    path = checkpoint.parent / 'metrics.json'
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        tested, scores = Path(content['checkpoint']).name, content['metrics']
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{path} is no file of tools/test.py ({error!r}): move it away, '
            'or test the checkpoint again'
        ) from error
    if tested != checkpoint.name:
        print(f'{path} is of {tested}: its scores are left out')
        return None
    return scores


def commit_here() -> str | None:
    """The commit of this clone; None without git, or outside of one."""
    try:
        done = subprocess.run(
            ['git', '-C', str(ROOT), 'rev-parse', 'HEAD'],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def main(argv: Sequence[str] | None = None) -> Path:
    """Export as the command line says; returns the file."""
    args = make_parser().parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    out = Path(args.out)
    with user_errors():
        if out.suffix != SAFETENSORS:
            raise ConfigError(
                f'--out: expected a name that ends with {SAFETENSORS}, got '
                f'{args.out}'
            )
        check_file(out)
        checkpoint = read_weights(args.checkpoint)
        weights, left_out = inference_weights(checkpoint['state_dict'])
        large: list[str] = []
        if args.half:
            weights, large = halved(weights)
        about = provenance(
            checkpoint['meta'],
            Path(args.checkpoint),
            ['tools/export_weights.py', *words],
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(out, weights, about)
        print(f'{out}: {len(weights)} tensors, {out.stat().st_size:,} bytes')
        for names, why in (
            (left_out, 'left out, of use in training alone'),
            (large, 'too large for 16 bits, stored in 32'),
        ):
            if names:
                print(f'{len(names)} {why}: {", ".join(names[:3])}, ...')
    return out


if __name__ == '__main__':
    main()
