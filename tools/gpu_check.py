"""Check OccSplat on an NVIDIA GPU, in one go.

bash tools/gpu_check.sh                      # needs a GPU and gsplat
bash tools/gpu_check.sh --out outputs/h100
bash tools/gpu_check.sh --dry                # all of it small, on the CPU

Writes report.md and the golden files of gsplat to a folder: the environment,
the tests that need a GPU, our images and gradients beside gsplat's, a step
of every method on the CPU beside the same one on the GPU, time and memory of
every R50 and R101 config and of each head's loss, beside a plain call of
gsplat. A
part that fails has its traceback in the report, the others go on, and the
exit status is 1. Needs no data set, no numba and no network.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch
from mmengine.logging import MMLogger

import make_gsplat_golden as maker
import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from benchmarks import devices, gpu
from benchmarks.drive import write_drive
from occsplat.compat import version_report
from occsplat.engine import limit_threads
from occsplat.structures import whole_file

#: seconds, once gsplat is compiled, after which no network is begun
LIMIT = 330
#: networks of a dry run
DRY = ('fbocc-tiny', 'voxelsplat_fbocc-tiny', 'voxdet_fbocc-tiny')


class Report:
    """A Markdown file that is whole after every part.

    Args:
        path (Path): the file.
        title (str): its first line.

    Attributes:
        failed (list): titles of the parts that failed.
    """

    def __init__(self, path: Path, title: str) -> None:
        self.path, self.title = path, title
        self.summary: list[list[Any]] = []
        self.parts: list[str] = []
        self.failed: list[str] = []

    def run(self, title: str, part: Callable[[], str]) -> None:
        """Run a part; whatever goes wrong in it is reported."""
        print(f'==> {title}', flush=True)
        start = time.perf_counter()
        try:
            text, result = part(), 'passed'
        except gpu.PartError as error:
            text, result = str(error), 'FAILED'
        except Exception:
            text, result = as_code(traceback.format_exc()), 'FAILED'
        if result == 'FAILED':
            self.failed.append(title)
            print(text, flush=True)
        seconds = time.perf_counter() - start
        self.summary.append([title, result, f'{seconds:.0f}'])
        self.parts.append(f'## {title}\n\n{text}\n')
        self.write()

    def write(self) -> None:
        """What there is so far."""
        summary = gpu.table(['part', 'result', 'seconds'], self.summary)
        text = f'# {self.title}\n\n{summary}\n\n' + '\n'.join(self.parts)
        with whole_file(self.path) as part:
            part.write_text(text, encoding='utf-8')


def as_code(text: str) -> str:
    """Text as it is, in Markdown."""
    return f'```\n{text.strip()}\n```'


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('outputs/gpu_check'),
        help='folder, default %(default)s',
    )
    parser.add_argument(
        '--dry',
        action='store_true',
        help="small and on the CPU, with torch's renderer in gsplat's place",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run every part; returns the exit status."""
    args = make_parser().parse_args(argv)
    if not args.dry and not torch.cuda.is_available():
        raise SystemExit(
            'error: torch finds no NVIDIA GPU; --dry runs on the CPU'
        )
    limit_threads()
    # of which weights were set, a line each
    MMLogger.get_instance('gpu_check', log_level='ERROR')
    report = Report(
        args.out / 'report.md',
        'GPU check' + (' (dry run on the CPU)' if args.dry else ''),
    )
    with tempfile.TemporaryDirectory() as folder:
        report.run('Environment', environment)
        root = Path(folder)
        bench = make_bench(args.dry, root)
        scenes = list(maker.make_scenes())[: 2 if args.dry else None]
        report.run(
            'Images and gradients beside gsplat',
            partial(images, bench, scenes, args.out),
        )
        # what came before is gsplat's compilation, if anything
        deadline = math.inf if args.dry else time.monotonic() + LIMIT
        report.run('Tests', partial(run_tests, args.dry))
        report.run('One call of gsplat', partial(one_call, bench))
        size = (160, 90) if args.dry else (1600, 900)
        frames = 3 if args.dry else 7
        report.run('Data', partial(make_data, root, frames, size))
        configs = list(gpu.resnet_configs(ROOT))
        tiny = [ROOT / 'occupancy_configs' / name for name in devices.TINY]
        if args.dry:
            names = [f'{name}_minitown' for name in DRY]
            configs = [path for path in tiny if path.stem in names]
            tiny = configs[1:2]
        report.run(
            'The CPU and the GPU', partial(both_devices, bench, tiny, deadline)
        )
        report.run('Networks', partial(networks, bench, configs, deadline))
        report.run('Heads', partial(heads, bench, configs, deadline))
    print(f'report: {report.path}')
    if report.failed:
        print(f'FAILED: {", ".join(report.failed)}')
    return int(bool(report.failed))


def make_bench(dry: bool, root: Path) -> gpu.Bench:
    """The GPU and gsplat, or what stands for them in a dry run."""
    if not dry:
        return gpu.Bench('cuda', gsplat, root, gpu.RELEASED)
    small = dict(count=300, views=2, width=40, height=24)
    return gpu.Bench('cpu', stand_in, root, gpu.RELEASED | small)


def gsplat() -> ModuleType:
    """The package; its kernels are compiled on first use."""
    return importlib.import_module('gsplat')


def stand_in() -> ModuleType:
    """What the tests put in gsplat's place."""
    sys.path.insert(0, str(ROOT / 'tests' / 'test_rendering'))
    try:
        module = importlib.import_module('stand_in_gsplat')
    finally:
        sys.path.pop(0)
    return module.stand_in_gsplat('1.5.3')


def environment() -> str:
    """Versions, and the GPU."""
    lines = [version_report(), f'CUDA of torch {torch.version.cuda}']
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        lines.append(f'GPU memory {free / 1e9:.1f} of {total / 1e9:.1f} GB')
    lines.append(f'{os.cpu_count()} cores')
    return as_code('\n'.join(lines))


def run_tests(dry: bool) -> str:
    """Tests with the mark 'gpu'; a dry run finds them, and no more.

    Raises:
        PartError: when one fails, or there are none.
    """
    try:
        importlib.import_module('pytest')
    except ImportError:
        return 'not run: there is no pytest'
    files = [
        str(path)
        for path in sorted((ROOT / 'tests').rglob('test_*.py'))
        if 'pytest.mark.gpu' in path.read_text(encoding='utf-8')
    ]
    command = [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', *files]
    command += ['-p', 'no:cacheprovider', '--tb=short']
    command += ['--collect-only'] if dry else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    text = as_code((done.stdout + done.stderr)[-8000:])
    if done.returncode:
        raise gpu.PartError(f'pytest ended with {done.returncode}\n{text}')
    return text


def make_data(root: Path, frames: int, size: tuple[int, int]) -> str:
    """A drive for the networks."""
    write_drive(root, frames, size)
    return f'{frames} key frames with images of {size[0]}x{size[1]} pixels'


def images(bench: gpu.Bench, names: Sequence[str], out: Path) -> str:
    """Our images and gradients beside gsplat's, and the golden files."""
    start = time.perf_counter()
    maker.render(bench.gsplat(), maker.make_scenes()[names[0]], bench.device)
    first = time.perf_counter() - start
    text = gpu.compare_images(bench, maker, names, out / 'golden')
    return f'gsplat, first call (compiles once): {first:.0f} s\n\n{text}'


def one_call(bench: gpu.Bench) -> str:
    """What the released head asks of gsplat, four times per sample."""
    size = bench.released
    return gpu.table(
        ['call', 'forward ms', 'forward and backward ms', 'MB'],
        [
            [
                f'{size["views"]} views of {size["width"]}x{size["height"]}, '
                f'{size["count"]} Gaussians, {size["channels"]} channels '
                'and depth',
                *gpu.released_call(bench),
            ]
        ],
    )


def both_devices(
    bench: gpu.Bench, configs: Sequence[Path], deadline: float
) -> str:
    """A step of every method on the CPU beside the same one on the GPU."""
    return each(
        configs, partial(devices.compare_devices, bench), devices.COLUMNS,
        deadline,
    )  # fmt: skip


def networks(
    bench: gpu.Bench, configs: Sequence[Path], deadline: float
) -> str:
    """A training step and a prediction of every config."""
    return each(
        configs, partial(gpu.measure_config, bench), gpu.NETWORK_COLUMNS,
        deadline,
    )  # fmt: skip


def heads(bench: gpu.Bench, configs: Sequence[Path], deadline: float) -> str:
    """What the heads' losses cost, of the configs that add some."""
    # one of each method is enough, on the first of its hosts
    methods: dict[str, Path] = {}
    for config in configs:
        methods.setdefault(config.parent.name, config)
    return each(
        list(methods.values()), partial(gpu.head_shares, bench),
        gpu.HEAD_COLUMNS, deadline,
    )  # fmt: skip


def each(
    configs: Sequence[Path],
    measure: Callable[[Path], list[list[Any]]],
    columns: Sequence[str],
    deadline: float,
) -> str:
    """A table over configs; one that fails does not stop the others.

    Raises:
        PartError: when some failed, or there was no time for them.
    """
    rows, wrong = [], []
    for config in configs:
        print(f'    {config.stem}', flush=True)
        if time.monotonic() > deadline:
            wrong.append(f'{config.stem}: not run, the time is over')
            continue
        try:
            rows += measure(config)
        except gpu.PartError as error:
            wrong.append(f'{config.stem}: {error}')
        except Exception:
            wrong.append(
                f'{config.stem}:\n\n{as_code(traceback.format_exc())}'
            )
    text = gpu.table(columns, rows)
    if wrong:
        raise gpu.PartError('\n\n'.join([text, *wrong]))
    return text


if __name__ == '__main__':
    sys.exit(main())
