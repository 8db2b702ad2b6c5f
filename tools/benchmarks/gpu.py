"""What tools/gpu_check.py measures, a function for each part.

Every function returns Markdown. Times are milliseconds, once the device has
done what it was told; memory is the most that torch's allocator has held.
"""

from __future__ import annotations

import copy
import gc
import math
import resource
import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterator, Sequence

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from occsplat.engine import load_config
from occsplat.models import OccDetector
from occsplat.rendering import rasterize
from occsplat.rendering.gsplat_backend import RELEASES
from occsplat.structures import OccBatch, OccPrediction

from .rows import SEED
from .training import strip_config

#: what gsplat's released head asks for: 100 000 Gaussians of 16 classes and
#: 2 channels of flow, in six cameras of six key frames, at a quarter of size
RELEASED = dict(
    count=100_000, channels=18, views=36, width=400, height=225, near=0.1,
    far=100.0,
)  # fmt: skip
#: repetitions of a step, a prediction, and a call of the rasteriser
REPEATS = 5


class PartError(Exception):
    """Some of a part failed; the message is the Markdown that there is."""


@dataclass(frozen=True)
class Bench:
    """Where things are measured.

    Attributes:
        device: 'cuda' or 'cpu'.
        gsplat: gives the package, or what stands in for it; imported when
            it is needed, as it may be missing.
        root: of the data, see ``write_drive``.
        released: size of the released head's call, see ``RELEASED``.
    """

    device: str
    gsplat: Callable[[], ModuleType]
    root: Path
    released: dict[str, Any]

    def now(self) -> float:
        """Seconds, once the device has done its work."""
        if self.device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter()

    def forget(self) -> None:
        """Give memory back, and count its peak from here."""
        gc.collect()
        if self.device == 'cuda':
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float:
        """Most megabytes: of the device, on the CPU of the process."""
        if self.device == 'cuda':
            return torch.cuda.max_memory_allocated() / 1e6
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_maxrss / 1e3

    def milliseconds(
        self, function: Callable[[], Any], repeats: int = REPEATS
    ) -> float:
        """Median of repeated calls, after one that is not counted."""
        function()
        times = []
        for _ in range(repeats):
            start = self.now()
            function()
            times.append(self.now() - start)
        return 1e3 * statistics.median(times)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown; numbers are rounded to what they are worth."""

    def cell(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'

    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(map(cell, line))} |' for line in lines)


# --- images ---------------------------------------------------------------


def compare_images(
    bench: Bench, maker: ModuleType, names: Sequence[str], folder: Path
) -> str:
    """gsplat's images and gradients beside ours; writes golden files.

    Args:
        bench: where.
        maker: tools/make_gsplat_golden.py.
        names: of its scenes.
        folder: for the golden files.

    Raises:
        PartError: when an image or a gradient differs too much.
    """
    rows, wrong = [], []
    backends = ['torch']
    if bench.device == 'cuda':
        backends.insert(0, 'gsplat')
    scenes = maker.make_scenes()
    for name in names:
        golden = maker.render(bench.gsplat(), scenes[name], bench.device)
        maker.write(folder, name, golden)
        for backend in backends:
            found = difference(bench, maker, golden, backend)
            rows.append([name, backend, *found])
            # as tests/test_rendering/test_golden.py
            if found[0] > 0.1 or found[1] > 2e-2 or not found[2] <= 5e-4:
                wrong.append(f'{name} ({backend})')
    text = table(
        ['scene', 'backend', '% of values off', 'largest error', 'gradients'],
        rows,
    )
    text += f'\n\ngolden files of gsplat: {len(names)} in {folder.name}/'
    if wrong:
        raise PartError(f'too far off: {", ".join(wrong)}\n\n{text}')
    return text


def difference(
    bench: Bench, maker: ModuleType, golden: dict[str, Any], backend: str
) -> tuple[float, float, float]:
    """Of our images and gradients from gsplat's.

    Returns:
        tuple: per cent of the image values that are off by more than
        1e-4 of 1 + their size, the largest such error, and the largest
        relative error of a gradient; round-off around a gradient of zero
        is no error.
    """
    leaves = {
        name: torch.from_numpy(golden[name]).to(bench.device).requires_grad_()
        for name in maker.LEAVES
        if name in golden
    }
    major, minor = str(golden['gsplat']).split('.')[:2]
    out = rasterize(
        **leaves,
        viewmats=torch.from_numpy(golden['viewmat'])[None].to(bench.device),
        Ks=torch.from_numpy(golden['K'])[None].to(bench.device),
        width=maker.WIDTH,
        height=maker.HEIGHT,
        near=maker.NEAR,
        far=maker.FAR,
        eps2d=maker.EPS2D,
        max_alpha=RELEASES[int(major), int(minor)].max_alpha,
        camera_model=str(golden['camera_model']),
        backend=backend,
    )
    images = dict(
        features=out.features[0], depth=out.depth[0], alpha=out.alpha[0]
    )
    errors = []
    for name, image in images.items():
        expected = torch.from_numpy(golden[f'image_{name}'])
        error = (image.detach().cpu() - expected).abs()
        errors.append((error / (1 + expected.abs())).flatten())
    torch.autograd.backward(
        list(images.values()), [maker.cotangent(x) for x in images.values()]
    )
    worst = 0.0
    for name, leaf in leaves.items():
        actual = leaf.grad.cpu().double().flatten()
        expected = torch.from_numpy(golden[f'grad_{name}']).double().flatten()
        noise = 1e-3 * math.sqrt(expected.numel())
        if max(float(expected.norm()), 0.1 * float(actual.norm())) < noise:
            continue
        error = float((actual - expected).norm() / expected.norm())
        worst = max(worst, error) if error == error else math.inf
    error = torch.cat(errors)
    off = 100 * float((error > 1e-4).float().mean())
    return off, float(error.max()), worst


def released_call(bench: Bench) -> tuple[float, float, float]:
    """gsplat called as VoxelSplat's released head calls it, once.

    Its head makes four such calls for a sample: two states, prediction
    and truth, of which two have a gradient.

    Returns:
        tuple: ms forward, ms forward and backward, and peak MB.
    """
    size, gsplat = bench.released, bench.gsplat()
    generator = torch.Generator().manual_seed(SEED)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    count, views = size['count'], size['views']
    low, span = torch.tensor([-40.0, -40, -1]), torch.tensor([80, 80, 6.4])
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1)
    scene = dict(
        means=low + span * uniform(count, 3),
        quats=quats,
        scales=torch.full((count, 3), 0.12),
        opacities=uniform(count),
        colors=uniform(count, size['channels']),
    )
    scene = {k: x.to(bench.device) for k, x in scene.items()}
    for name in ('means', 'opacities', 'colors'):
        scene[name].requires_grad_()
    K = torch.tensor(
        [
            [0.79 * size['width'], 0, size['width'] / 2],
            [0, 0.79 * size['width'], size['height'] / 2],
            [0, 0, 1],
        ]
    )
    # the way from x ahead, z up to z ahead, y down; then turned about z
    axes = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    viewmats = torch.eye(4).repeat(views, 1, 1)
    for n in range(views):
        yaw = math.radians(60 * n)
        cos, sin = math.cos(yaw), math.sin(yaw)
        turn = torch.tensor([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        place = torch.tensor([4.0 * (n // 6) - 8, 0, 1.5])
        viewmats[n, :3, :3] = axes @ turn
        viewmats[n, :3, 3] = -axes @ turn @ place

    def forward() -> Tensor:
        image, _, _ = gsplat.rasterization(
            **scene,
            viewmats=viewmats.to(bench.device),
            Ks=K.repeat(views, 1, 1).to(bench.device),
            width=size['width'],
            height=size['height'],
            near_plane=size['near'],
            far_plane=size['far'],
            eps2d=0.3,
            packed=True,
            backgrounds=None,
            render_mode='RGB+D',
            camera_model='pinhole',
        )
        return image

    def both() -> None:
        forward().sum().backward()

    bench.forget()
    repeats = REPEATS if bench.device == 'cuda' else 1
    with torch.no_grad():
        alone = bench.milliseconds(forward, repeats)
    return alone, bench.milliseconds(both, repeats), bench.peak()


# --- networks -------------------------------------------------------------


def prepare(bench: Bench, path: Path) -> tuple[Config, nn.Module, dict]:
    """A config, its network past the warm-up, and a batch of each split.

    A batch has as many copies of one key frame as the config says.
    """
    cfg = load_config(path)
    batches = {}
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.data_root = str(bench.root)
        dataset = DATASETS.build(loader.dataset)
        # in the middle: with neighbours on both sides
        sample = dataset[len(dataset) // 2]
        batches[split] = pseudo_collate(
            [copy.deepcopy(sample) for _ in range(loader.batch_size)]
        )
    strip_config(cfg)
    torch.manual_seed(SEED)
    model = MODELS.build(cfg.model)
    model.init_weights()
    if isinstance(model, OccDetector):
        model.set_warmup(False)
    return cfg, model.to(bench.device), batches


def train_step(
    bench: Bench, cfg: Config, model: nn.Module, batch: dict, amp: bool
) -> tuple[float, float]:
    """ms and peak MB of a step: the median of some, after a warm-up.

    Raises:
        RuntimeError: when a loss is not finite.
    """
    optim = copy.deepcopy(cfg.optim_wrapper)
    cuda = bench.device == 'cuda'
    if amp and cuda:
        optim.type = 'AmpOptimWrapper'
        optim.loss_scale = 'dynamic'
    wrapper = build_optim_wrapper(model, optim)
    model.train()
    bench.forget()
    copies = _copies(bench, batch)

    def step() -> None:
        # on the CPU there is no AmpOptimWrapper
        with torch.autocast('cpu', torch.bfloat16, enabled=amp and not cuda):
            losses = model.train_step(copies.pop(), wrapper)
        bad = [k for k, v in losses.items() if not torch.isfinite(v).all()]
        if bad:
            raise RuntimeError(f'losses that are not finite: {bad}')

    took = bench.milliseconds(step, len(copies) - 1)
    return took, bench.peak()


def _copies(bench: Bench, batch: dict) -> list[dict]:
    """Of a batch, as a step changes it: for a warm-up and what is timed."""
    count = 1 + (REPEATS if bench.device == 'cuda' else 1)
    return [copy.deepcopy(batch) for _ in range(count)]


def predict_step(
    bench: Bench, model: nn.Module, batch: dict, amp: bool
) -> tuple[float, float]:
    """ms of a prediction, and peak MB."""
    model.eval()
    bench.forget()
    dtype = torch.float16 if bench.device == 'cuda' else torch.bfloat16
    copies = _copies(bench, batch)

    def step() -> Any:
        with torch.no_grad(), torch.autocast(bench.device, dtype, amp):
            return model.test_step(copies.pop())

    took = bench.milliseconds(step, len(copies) - 1)
    return took, bench.peak()


def measure_config(bench: Bench, path: Path) -> list[list[Any]]:
    """Rows of the table of networks: in single precision, and --amp."""
    rows = []
    cfg, model, batches = prepare(bench, path)
    for amp in (False, True):
        train = train_step(bench, cfg, model, batches['train'], amp)
        test = predict_step(bench, model, batches['val'], amp)
        rows.append(
            [
                path.stem,
                'amp' if amp else 'fp32',
                cfg.train_dataloader.batch_size,
                *train,
                *test,
                1e3 / test[0],
            ]
        )
    return rows


NETWORK_COLUMNS = (
    'config', 'precision', 'samples', 'step ms', 'step MB', 'predict ms',
    'predict MB', 'frames/s',
)  # fmt: skip


def head_shares(bench: Bench, path: Path) -> list[list[Any]]:
    """What each head's loss costs, forward and backward, on its own.

    Heads get copies of what the network says of a training batch, so
    that a backward pass ends there. The share is that of a whole step.
    What pre-trains an image encoder has no such heads.
    """
    cfg, model, batches = prepare(bench, path)
    if not isinstance(model, OccDetector):
        return []
    whole, _ = train_step(bench, cfg, model, batches['train'], amp=False)
    data = model.data_preprocessor(copy.deepcopy(batches['train']), True)
    batch = OccBatch.collate(data['data_samples'])
    with torch.no_grad():
        volume, prediction, _ = model._predict_volume(
            data['inputs']['imgs'], batch
        )
    heads = [model.offset_head] if model.offset_head else []
    heads += model.render_heads
    losses = {type(model.occ_head).__name__: model.occ_head.loss}
    for head in heads:
        losses[type(head).__name__] = partial(head.loss, volume)
    rows = []
    for name, loss in losses.items():
        bench.forget()
        before = bench.peak()
        for _ in range(2):  # the first is a warm-up
            leaves = as_leaves(prediction)
            start = bench.now()
            total, _ = model.parse_losses(loss(leaves, batch))
            middle = bench.now()
            total.backward()
            end = bench.now()
        forward, backward = 1e3 * (middle - start), 1e3 * (end - middle)
        share = 100 * (forward + backward) / whole
        memory = bench.peak() - before
        rows.append([path.stem, name, forward, backward, share, memory])
    return rows


HEAD_COLUMNS = (
    'config', 'head', 'forward ms', 'backward ms', '% of a step', 'MB',
)  # fmt: skip


def as_leaves(prediction: OccPrediction) -> OccPrediction:
    """The same numbers, where a gradient ends."""
    names = ('logits', 'flow', 'features', 'offsets', 'density')
    found = {name: getattr(prediction, name) for name in names}
    return replace(
        prediction,
        **{
            name: value.detach().requires_grad_()
            for name, value in found.items()
            if value is not None
        },
    )


def resnet_configs(root: Path) -> Iterator[Path]:
    """Every config that one GPU of common size can train, R50 first."""
    for depth in (50, 101):
        pattern = f'occupancy_configs/*/*-r{depth}_*.py'
        yield from sorted(root.glob(pattern))
