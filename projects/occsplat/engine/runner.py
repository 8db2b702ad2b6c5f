"""mmengine's Runner, with checkpoints that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmdet3d.registry import RUNNERS
from mmengine.dist import is_main_process
from mmengine.runner import Runner


@RUNNERS.register_module()
class OccRunner(Runner):
    """A Runner that a kill can't leave with half a checkpoint.

    mmengine writes under the final name. Here a checkpoint is written
    beside it and renamed when it is complete, so that the newest file of a
    run can always be resumed from. Local folders only, like ``--resume``.
    """

    def save_checkpoint(
        self, out_dir: str, filename: str, *args: Any, **kwargs: Any
    ) -> None:
        """As in mmengine, through a temporary name."""
        part = f'{filename}.part'
        super().save_checkpoint(out_dir, part, *args, **kwargs)
        if is_main_process():
            folder = Path(out_dir)
            os.replace(folder / part, folder / filename)
