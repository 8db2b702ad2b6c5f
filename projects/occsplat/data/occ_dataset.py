"""Key frames in scene and time order: what no data set owns."""

from __future__ import annotations

from functools import partial
from typing import Any, Iterable, Sequence

import numpy as np
from mmdet3d.registry import TRANSFORMS
from mmengine.dataset import BaseDataset

from occsplat.structures import LabelSpec
from occsplat.structures.checks import Count, Natural, checked

from .errors import DataError
from .frame_records import ray_origins
from .sample_seed import drawn_for


class OccDataset(BaseDataset):
    """Key frames with voxel labels, their neighbours in time and streams.

    A data set says with ``records`` what its key frames are.

    Args:
        label_spec (str | LabelSpec): what the voxel labels mean. Samples
            are expressed in this label set's own frame.
        pipeline (list): transforms, ending with PackOccInputs.
        extra_transforms (list): put before the last one of the pipeline:
            what a method reads beyond its baseline, so that its config
            need not repeat the baseline's list.
        test_mode (bool): as mmengine's BaseDataset.
        sequence_splits (int, optional): parts into which ``sequences``
            cuts each scene; 2 in training, 1 in test mode by default.
        indices (int | sequence, optional): the first so many key frames,
            or those at these places; all by default.
        **kwargs: further arguments of mmengine's BaseDataset.

    Raises:
        ValueError: when an argument is out of range.
        DataError: when there are fewer key frames than ``indices`` asks
            for, or matrices of one are not of their shape or not finite.
    """

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        pipeline: Sequence[Any] = (),
        extra_transforms: Sequence[Any] = (),
        test_mode: bool = False,
        sequence_splits: Count | None = None,
        indices: Count | Sequence[Natural] | None = None,
        **kwargs: Any,
    ) -> None:
        self.label_spec = LabelSpec.named(label_spec)
        if sequence_splits is None:
            sequence_splits = 1 if test_mode else 2
        self.sequence_splits = sequence_splits
        # built here, so that it also works without mmengine's Runner,
        # which would set the registry scope
        built = [
            TRANSFORMS.build(step) if isinstance(step, dict) else step
            for step in (*pipeline[:-1], *extra_transforms, *pipeline[-1:])
        ]
        super().__init__(
            metainfo=dict(
                classes=self.label_spec.classes,
                palette=self.label_spec.palette,
            ),
            data_prefix={},
            pipeline=built,
            test_mode=test_mode,
            indices=indices,
            **kwargs,
        )

    def records(self) -> Iterable[dict[str, Any]]:
        """What the transforms read of each key frame, in any order.

        A record has the fields that ``frame_record`` lists. Those of a
        sensor, of annotated objects or of label files that no transform
        of the pipeline reads may be left out; a data set without LiDAR
        puts the place that RayIoU casts its rays from into ``lidar2ref``.
        """
        raise NotImplementedError(f'{type(self).__name__} has no key frames')

    @property
    def where(self) -> str:
        """Where the key frames come from, to name in errors."""
        return type(self).__name__

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """A sample; what its pipeline draws follows from the index.

        See ``SampleIndex``, which SequenceSampler hands out.
        """
        with drawn_for(idx):
            return super().__getitem__(idx)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Records of all key frames, by scene and time."""
        scenes: dict[str, list[dict[str, Any]]] = {}
        for record in self.records():
            self._check_matrices(record)
            scenes.setdefault(record['scene_token'], []).append(record)
        data_list = []
        for records in scenes.values():
            records.sort(key=lambda record: record['timestamp'])
            for index, record in enumerate(records):
                record['ray_origins'] = ray_origins(
                    records, index, self.label_spec.grid
                )
            data_list += records
        wanted = self._indices
        if wanted is not None:
            count = wanted if isinstance(wanted, int) else max(wanted) + 1
            if count > len(data_list):  # mmengine takes what there is
                raise DataError(
                    f'indices={wanted} of the {len(data_list)} key frames of '
                    f'{self.where}: there are not as many'
                )
        return data_list

    def _check_matrices(self, record: dict[str, Any]) -> None:
        """Make a record's matrices float64; raise a DataError for others."""
        count = len(record['cameras'])
        shapes = dict(
            cam2img=(count, 3, 3),
            ref2cam=(count, 4, 4),
            lidar2ref=(4, 4),
            ref2global=(4, 4),
        )
        for key, shape in shapes.items():
            matrix = np.asarray(record[key], np.float64)
            if matrix.shape != shape or not np.isfinite(matrix).all():
                raise DataError(
                    f'{self.where}: key frame {record["token"]!r}: {key} has '
                    f'the shape {matrix.shape}; expected {shape}, finite'
                )
            record[key] = matrix

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """What the pipeline starts from.

        A frame's record, as ``frame_record`` describes it, with

        - ``sample_idx``, its index,
        - ``ray_origins``, float32 (R, 3) in the reference frame,
        - ``neighbour``, a function from an offset in key frames (-1: the
          one before) to that frame's record, or to None where the scene
          or the data set ends.
        """
        count = len(self)
        if not -count <= idx < count:
            # ends a loop over the data set
            raise IndexError(f'frame {idx} of {count}')
        idx = idx % count
        record = super().get_data_info(idx)
        record['neighbour'] = partial(self.neighbour, idx)
        return record

    def neighbour(self, idx: int, offset: int) -> dict[str, Any] | None:
        """The record ``offset`` key frames after frame ``idx``, if any."""
        step, link = (1, 'next') if offset > 0 else (-1, 'prev')
        record = super().get_data_info(idx)
        for _ in range(abs(offset)):
            idx += step
            token = record[link]
            if not token or not 0 <= idx < len(self):
                return None
            record = super().get_data_info(idx)
            # frames may be absent from a subset
            if record['token'] != token:
                return None
        return record

    def sequences(self) -> list[list[int]]:
        """Indices in time order, one list for each stream of frames.

        A scene gives ``sequence_splits`` streams of nearly equal length.
        """
        scenes: dict[str, list[int]] = {}
        for idx in range(len(self)):
            scene = super().get_data_info(idx)['scene_token']
            scenes.setdefault(scene, []).append(idx)
        return [
            part.tolist()
            for indices in scenes.values()
            for part in np.array_split(indices, self.sequence_splits)
            if len(part)
        ]
