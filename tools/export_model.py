"""Write a detector as a graph, ONNX or torch.export's.

python tools/export_model.py CONFIG CHECKPOINT --out FILE.onnx
python tools/export_model.py CONFIG CHECKPOINT --out FILE.onnx --rig input --past
python tools/export_model.py CONFIG CHECKPOINT --out FILE.pt2 --format torch

Images in (uint8 RGB at the network's size), logits, class ids and flow out;
see docs/deployment.md. The file is written when it gives on the first key
frames of the test data what the network gives in PyTorch; what differs is
printed.
"""  # noqa: E501 commands are not broken

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    ConfigError,
    add_cfg_options,
    build_frames,
    build_split,
    check_file,
    init_model,
    limit_threads,
    load_config,
    user_errors,
)
from occsplat.engine.cli import add_frames_option
from occsplat.export import (
    FORMATS,
    ExportedNetwork,
    check_packages,
    export,
    operators,
)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without one the weights are drawn: enough to '
        'look at the graph',
    )
    parser.add_argument('--out', required=True, metavar='FILE')
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default='onnx',
        help='default: %(default)s',
    )
    parser.add_argument(
        '--rig',
        choices=('fixed', 'input'),
        default='fixed',
        help="whether the first frame's cameras are part of the graph, "
        'which is faster, or an input (default: %(default)s)',
    )
    parser.add_argument(
        '--past',
        action='store_true',
        help='past volumes go in and out; without it each frame is the '
        'first one of its sequence',
    )
    parser.add_argument(
        '--info',
        help="info file whose frames and cameras stand in for the config's "
        'test data, see tools/infer.py',
    )
    add_frames_option(parser, 3)
    add_cfg_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> Path:
    """Export as the command line says; returns the file."""
    args = make_parser().parse_args(argv)
    out = Path(args.out)
    with user_errors():
        suffix, _ = FORMATS[args.format]
        if out.suffix != suffix:
            raise ConfigError(
                f'--out: expected a name that ends with {suffix} for '
                f'--format {args.format}, got {args.out}'
            )
        check_packages(args.format)
        check_file(out)
        cfg = load_config(args.config, args.cfg_options)
        dataset = (
            build_frames(cfg, args.info)
            if args.info
            else build_split(cfg, 'test')
        )
        limit_threads()
        detector = init_model(
            cfg, args.checkpoint, cfg_options=args.cfg_options
        )
        if args.checkpoint is None:
            print('no checkpoint: weights as they are drawn')
        frames = [dataset[i] for i in range(min(args.frames, len(dataset)))]
        rig = frames[0]['data_samples'].rig
        network = ExportedNetwork(
            detector, rig, args.rig == 'fixed', args.past
        )
        for one in export(network.eval(), detector, frames, args.format, out):
            print(one)
        print(f'{out}: {out.stat().st_size:,} bytes')
        print(f'in: {", ".join(network.input_names)}')
        print(f'out: {", ".join(network.output_names)}')
        if args.format == 'onnx':
            counts = operators(out)
            told = ', '.join(f'{name} {n}' for name, n in counts.items())
            print(f'{sum(counts.values())} operators: {told}')
    return out


if __name__ == '__main__':
    main()
