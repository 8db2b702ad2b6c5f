"""Predictions of a test run on disk.

Shape letters: X Y Z voxels.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import torch
from mmdet3d.registry import HOOKS
from mmengine.dist import (
    all_gather_object,
    barrier,
    get_rank,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.runner import Runner

from occsplat.evaluation import (
    VOLUME_FILE,
    RayFileWriter,
    cast_frame,
    check_fields,
    lidar_rays,
    to_arrays,
    write_volumes,
)
from occsplat.structures import LabelSpec, OccDataSample, VoxelGrid, as_grid
from occsplat.structures.checks import checked


@HOOKS.register_module()
class SavePredictionsHook(Hook):
    """Write volumes, rays, or both, of every frame of a test run.

    Each process writes what it predicts, under its own name. Once all are
    done, a frame that several of them have predicted (samplers may serve
    some twice) is kept from the lowest rank, its first time, as in
    CountMetric: files hold what the metrics have counted. The ray file is
    then put together by the main process, tokens in order, so that it
    does not depend on the number of processes. They need a common file
    system.

    Args:
        label_spec (str | LabelSpec): the label set.
        grid (VoxelGrid | dict, optional): of the prediction; the label
            spec's own unless given.
        out_dir (str, optional): folder for the volumes,
            ``<scene>/<token>/preds.npz``, see ``write_volumes``.
        ray_file (str, optional): the challenge's file, ``.gz``. Without
            ``pcd_flow`` when the network predicts no flow.
        info (dict, optional): who took part, see ``CHALLENGE_INFO``.

    Raises:
        ValueError: when the name of the ray file or the info is not what
            it should be.
    """

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        out_dir: str | Path | None = None,
        ray_file: str | Path | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = LabelSpec.named(label_spec)
        self.grid = as_grid(self.spec.grid if grid is None else grid)
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.writer = None
        if ray_file is not None:
            self.writer = RayFileWriter(ray_file, info)
        self.directions = lidar_rays()
        self.seen: dict[str, str] = {}

    def before_test(self, runner: Runner) -> None:
        """Forget the rays that an interrupted run has left.

        Volumes stay: those of the same frames are replaced, others may be
        another run's.
        """
        self.seen = {}
        if self.writer is not None and is_main_process():
            shutil.rmtree(self._frames, ignore_errors=True)
        barrier()

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[OccDataSample] | None = None,
    ) -> None:
        """Write the frames of a batch under this process's name.

        Raises:
            DataError: when a prediction makes no sense, see
                ``check_fields``; the frame is not written.
        """
        for sample in outputs or ():
            token = sample.token
            if token in self.seen:
                continue
            occ, flow, offsets = check_fields(
                f'sample {token!r}',
                self.spec,
                self.grid,
                pred_occ=sample.pred_occ,
                pred_flow=sample.get('pred_flow'),
                pred_offsets=sample.get('pred_offsets'),
            )
            self.seen[token] = sample.get('scene_name', '')
            for path in self._paths(token):
                own = self._own(path, get_rank())
                if path.name == VOLUME_FILE:
                    write_volumes(own, occ, flow, self.spec, offsets)
                    continue
                own.parent.mkdir(parents=True, exist_ok=True)
                with open(own, 'wb') as file:
                    np.savez_compressed(file, **self._rays(sample))

    def after_test(self, runner: Runner) -> None:
        """Keep every frame once, and make the ray file."""
        shares = all_gather_object(list(self.seen))
        taken = set().union(*shares[: get_rank()])
        for token in self.seen:
            for path in self._paths(token):
                own = self._own(path, get_rank())
                if token in taken:
                    own.unlink()
                else:
                    os.replace(own, path)
        barrier()
        if self.writer is not None and is_main_process():
            with self.writer as out:
                for token in sorted(set().union(*shares)):
                    with np.load(self._frames / f'{token}.npz') as arrays:
                        out.add(token, dict(arrays))
            shutil.rmtree(self._frames)
            runner.logger.info(f'rays are in {self.writer.path}')
        if self.out_dir is not None:
            runner.logger.info(f'predictions are in {self.out_dir}')

    @property
    def _frames(self) -> Path:
        """Folder for the rays of single frames."""
        path = self.writer.path
        return path.with_name(f'.{path.name}.frames')

    def _paths(self, token: str) -> list[Path]:
        """The files of a frame that this process has seen."""
        paths = []
        if self.out_dir is not None:
            paths.append(self.out_dir / self.seen[token] / token / VOLUME_FILE)
        if self.writer is not None:
            paths.append(self._frames / f'{token}.npz')
        return paths

    @staticmethod
    def _own(path: Path, rank: int) -> Path:
        return path.with_name(f'{path.name}.rank{rank}')

    def _rays(self, sample: OccDataSample) -> dict[str, np.ndarray]:
        """Arrays of a frame as the ray file holds them."""
        return to_arrays(
            cast_frame(
                'pred',
                sample.pred_occ,
                torch.as_tensor(sample.ray_origins),
                self.directions,
                self.spec,
                self.grid,
                sample.get('pred_flow'),
            ),
            sample.token,
        )
