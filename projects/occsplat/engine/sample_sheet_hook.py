"""Pictures of a test run.

Shape letters: N cameras, H W image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from occsplat.structures import LabelSpec, OccDataSample
from occsplat.structures.checks import checked
from occsplat.visualization import save_sample_sheet


@HOOKS.register_module()
class SampleSheetHook(Hook):
    """Write a sheet of images, prediction and truth for each test sample.

    Args:
        out_dir (str): folder of ``<scene>_<index>.png``.
        label_spec (str): the label set.
    """

    @checked
    def __init__(
        self, out_dir: str | Path, label_spec: str | LabelSpec
    ) -> None:
        self.out_dir = Path(out_dir)
        self.spec = LabelSpec.named(label_spec)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[OccDataSample] | None = None,
    ) -> None:
        """Draw the batch."""
        for imgs, sample in zip(data_batch['inputs']['imgs'], outputs or ()):
            # the key frame: uint8 RGB (N, 3, H, W)
            images = list(imgs[0].permute(0, 2, 3, 1).cpu().numpy())
            name = f'{sample.scene_name}_{sample.sample_idx:06d}'
            save_sample_sheet(
                sample.cpu(),
                images,
                self.out_dir / f'{name}.png',
                self.spec,
                title=name,
            )
