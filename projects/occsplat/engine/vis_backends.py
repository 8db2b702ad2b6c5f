"""mmengine's backends for W&B and MLflow, as their releases of today need it.

mmengine 0.10.7 is its last release, from 2025. Under the same names, these
replace its own; they can go when mmengine has a newer one that does the same.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Mapping

import mmengine.visualization as originals
import numpy as np
from mmdet3d.registry import VISBACKENDS
from mmengine.config import Config
from mmengine.visualization.vis_backend import force_init_env

from occsplat.structures import MissingPackageError

#: what names of MLflow may not hold, such as the @ of RayIoU@1
_REFUSED = re.compile(r'[^\w\-. :/]')
_PACKAGE = Path(__file__).resolve().parents[1]


def _need(package: str) -> None:
    """Raise a MissingPackageError that names the extra."""
    if find_spec(package) is None:
        raise MissingPackageError(
            f'{package} is not installed: run '
            f"pip install 'occsplat[{package}]'"
        )


@VISBACKENDS.register_module()
class WandbVisBackend(originals.WandbVisBackend):
    """W&B: the code that goes with a run is this package.

    mmengine's sends every Python file below the current folder, of an
    environment in it, too. Pictures tell their training step as ``iter``,
    as scalars do. Arguments are those of mmengine's class.
    """

    def _init_env(self) -> None:
        _need('wandb')
        super()._init_env()

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Send the config and the code."""
        change = self._init_kwargs.get('allow_val_change', False)
        run = self._wandb.run
        run.config.update(config.to_dict(), allow_val_change=change)
        run.log_code(str(_PACKAGE), name=self._log_code_name)

    @force_init_env
    def add_image(
        self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any
    ) -> None:
        """Send an RGB image, uint8 (H, W, 3)."""
        values = {name: self._wandb.Image(image), 'iter': step}
        self._wandb.log(values, commit=self._commit)


@VISBACKENDS.register_module()
class MLflowVisBackend(originals.MLflowVisBackend):
    """MLflow: where ``MLFLOW_TRACKING_URI`` says, pictures with their step.

    mmengine's writes to a folder of the work dir, which MLflow refuses by
    now, stops at ``RayIoU@1``, whose sign MLflow refuses in names (it
    becomes ``_`` here), and gives pictures names that say no format.
    Arguments are those of mmengine's class; without ``tracking_uri`` MLflow
    decides: the environment, else ``sqlite:///mlflow.db``.
    """

    def _init_env(self) -> None:
        _need('mlflow')
        import mlflow

        self._tracking_uri = self._tracking_uri or mlflow.get_tracking_uri()
        super()._init_env()

    @force_init_env
    def add_image(
        self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any
    ) -> None:
        """Send an RGB image, uint8 (H, W, 3)."""
        self._mlflow.log_image(image, key=_allowed(name), step=step)

    def add_scalar(
        self, name: str, value: Any, step: int = 0, **kwargs: Any
    ) -> None:
        """Send a number."""
        super().add_scalar(_allowed(name), value, step)

    def add_scalars(
        self,
        scalar_dict: Mapping[str, Any],
        step: int = 0,
        file_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Send numbers."""
        renamed = {_allowed(k): v for k, v in scalar_dict.items()}
        super().add_scalars(renamed, step)


def _allowed(name: str) -> str:
    return _REFUSED.sub('_', name)
