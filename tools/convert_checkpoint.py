"""Turn a checkpoint that others published into one of ours.

python tools/convert_checkpoint.py FILE --from fbocc-r50 --out OUT.pth

Every tensor of the network has to come from the file, and every tensor of
the file has to be of use; --partial takes what fits. Weights keep their
licence: see docs/model_zoo.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import limit_threads, load_config, user_errors
from occsplat.engine.released import RELEASED, Converted, convert
from occsplat.structures import whole_file

CONFIGS = Path(__file__).resolve().parents[1] / 'occupancy_configs'


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoint', help='published file')
    parser.add_argument(
        '--from',
        dest='name',
        required=True,
        choices=sorted(RELEASED),
        help='which network it is',
    )
    parser.add_argument('--out', required=True, help='checkpoint to write')
    parser.add_argument(
        '--partial',
        action='store_true',
        help='also convert a file that has more or less than the network',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> Converted:
    """Convert as the command line says."""
    args = make_parser().parse_args(argv)
    limit_threads()
    with user_errors():
        released = RELEASED[args.name]
        cfg = load_config(CONFIGS / released.config)
        converted = convert(args.checkpoint, args.name, cfg, args.partial)
        meta = dict(
            converted_from=args.name,
            source=Path(args.checkpoint).name,
            licence=released.licence,
        )
        with whole_file(args.out) as part:
            torch.save(dict(state_dict=converted.state, meta=meta), part)
    print(f'{args.out}: {converted}')
    print(f'licence of the weights: {released.licence}')
    print(f'config: occupancy_configs/{released.config}')
    return converted


if __name__ == '__main__':
    main()
