"""Pictures of a run: of what a network is fed with, and of what it says.

Shape letters: T frames, N cameras, H W image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import numpy as np
from mmdet3d.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend
from torch import Tensor

from occsplat.structures import OccDataSample
from occsplat.structures.checks import Count, checked
from occsplat.visualization import input_sheet, sample_sheet, write_png


@HOOKS.register_module()
class SampleSheetHook(Hook):
    """Draw samples of a run, each on a sheet.

    A test writes a PNG of every sample to ``out_dir``, where that is given:
    images, prediction and truth.

    A training gives sheets to the visualizer, if that has a backend beside
    LocalVisBackend, with the number of iterations as their step: of what
    the network is fed with (``train_input``), and of the same few frames
    in every validation (``val_<scene>_<index>``), of networks that predict
    a volume. The main process draws, from its own share of the data. The
    label set is the data set's.

    Args:
        out_dir (str, optional): folder of ``<scene>_<index>.png``.
        samples (int): frames of a validation, evenly spaced.
        train_interval (int): iterations from one sheet of the network's
            input to the next; the first is drawn before the first of them.
    """

    @checked
    def __init__(
        self,
        out_dir: str | Path | None = None,
        samples: Count = 4,
        train_interval: Count = 500,
    ) -> None:
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.samples = samples
        self.train_interval = train_interval

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Draw the first sample of a batch, every so often."""
        if runner.iter % self.train_interval or not _shown(runner):
            return
        imgs, sample = _pairs(data_batch)[0]
        sheet = input_sheet(
            imgs,
            sample,
            runner.train_dataloader.dataset.label_spec,
            title=f'{_name(sample)}, iteration {runner.iter}',
        )
        runner.visualizer.add_image('train_input', sheet, runner.iter)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[OccDataSample] | None = None,
    ) -> None:
        """Draw the first sample of some batches."""
        loader = runner.val_dataloader
        if batch_idx not in _spread(len(loader), self.samples):
            return
        if not _shown(runner) or 'pred_occ' not in outputs[0]:
            return
        imgs, _ = _pairs(data_batch)[0]
        name, step = _name(outputs[0]), runner.iter
        sheet = _sheet(imgs, outputs[0], loader, f'{name}, iteration {step}')
        runner.visualizer.add_image(f'val_{name}', sheet, step)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[OccDataSample] | None = None,
    ) -> None:
        """Write the sheets of the batch."""
        if self.out_dir is None:
            return
        for (imgs, _), sample in zip(_pairs(data_batch), outputs):
            name = _name(sample)
            sheet = _sheet(imgs, sample, runner.test_dataloader, name)
            write_png(self.out_dir / f'{name}.png', sheet)


def _pairs(batch: dict[str, Any]) -> list[tuple[Tensor, OccDataSample]]:
    """Images, uint8 RGB (T, N, 3, H, W), and samples as they are loaded."""
    return list(zip(batch['inputs']['imgs'], batch['data_samples']))


def _sheet(
    imgs: Tensor, sample: OccDataSample, loader: Any, title: str
) -> np.ndarray:
    """Images of the key frame, prediction and truth, RGB (H, 1920, 3)."""
    images = list(imgs[0].permute(0, 2, 3, 1).cpu().numpy())
    spec = loader.dataset.label_spec
    return sample_sheet(sample.cpu(), images, spec, title=title)


def _name(sample: OccDataSample) -> str:
    # without a slash, for which LocalVisBackend would need a folder
    return f'{sample.scene_name}_{sample.sample_idx:06d}'


def _shown(runner: Runner) -> bool:
    """Whether pictures go anywhere but to the work dir, from here."""
    backends = runner.visualizer._vis_backends.values()
    return is_main_process() and any(
        not isinstance(backend, LocalVisBackend) for backend in backends
    )


def _spread(count: int, wanted: int) -> list[int]:
    """Places among ``count``, each in the middle of an equal part."""
    parts = min(count, wanted)
    return [(2 * i + 1) * count // (2 * parts) for i in range(parts)]
