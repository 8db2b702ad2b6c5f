"""nuScenes and MiniTown, with Occ3D, OpenOcc or SurroundOcc labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Sequence

import numpy as np
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.dataset import BaseDataset

from occsplat.structures import LabelSpec
from occsplat.structures.checks import Count, Natural, checked

from .errors import DataError
from .frame_records import ray_origins
from .info_files import load_infos, records_of
from .layout import CAMERAS
from .sample_seed import drawn_for


@DATASETS.register_module()
class NuScenesOccDataset(BaseDataset):
    """Key frames of nuScenes in scene and time order.

    Args:
        data_root (str | sequence): folder that holds ``samples/``, the
            labels and the info files; or several, whose scenes follow
            each other. Scenes of two roots may have the same name.
        ann_file (str): info file, ``.pkl`` or ``.json``, relative to each
            ``data_root`` or absolute. Pickles are read by an unpickler
            that admits plain data only.
        label_spec (str | LabelSpec): 'openocc', 'occ3d' or 'surroundocc'.
            Samples are expressed in this label set's own frame: the ego
            frame, or the LiDAR's for 'surroundocc'.
        pipeline (list): transforms, ending with PackOccInputs.
        extra_transforms (list): put before the last one of the pipeline:
            what a method reads beyond its baseline, so that its config
            need not repeat the baseline's list.
        test_mode (bool): as mmengine's BaseDataset.
        sequence_splits (int, optional): parts into which ``sequences``
            cuts each scene; 2 in training, 1 in test mode by default.
        cameras (sequence, optional): names of the cameras to use, in the
            order of the tensors; cars with other than nuScenes' six name
            theirs. None: all that a key frame has, for work that reads
            cameras one by one, or none.
        indices (int | sequence, optional): the first so many key frames,
            or those at these places; all by default.
        **kwargs: further arguments of mmengine's BaseDataset.

    Raises:
        FileNotFoundError: when a root or an info file is missing.
        ValueError: when an argument is out of range.
        DataError: when an info file is no info file, is empty, or an
            entry can't be one, see ``frame_record``; or when two of them
            have a key frame in common.
    """

    @checked
    def __init__(
        self,
        data_root: str | Path | Sequence[str | Path],
        ann_file: str | Path,
        label_spec: str | LabelSpec = 'openocc',
        pipeline: Sequence[Any] = (),
        extra_transforms: Sequence[Any] = (),
        test_mode: bool = False,
        sequence_splits: Count | None = None,
        cameras: Sequence[str] | None = CAMERAS,
        indices: Count | Sequence[Natural] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(data_root, (str, Path)):
            data_root = [data_root]
        if not data_root:
            raise ValueError('data_root must name a folder, got none')
        self.label_spec = LabelSpec.named(label_spec)
        self.cameras = _checked_names(cameras)
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
            ann_file=ann_file,
            metainfo=dict(
                classes=self.label_spec.classes,
                palette=self.label_spec.palette,
            ),
            data_root=[str(root) for root in data_root],
            data_prefix={},
            pipeline=built,
            test_mode=test_mode,
            indices=indices,
            **kwargs,
        )

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """A sample; what its pipeline draws follows from the index.

        See ``SampleIndex``, which SequenceSampler hands out.
        """
        with drawn_for(idx):
            return super().__getitem__(idx)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Records of all key frames, by root, scene and time."""
        files: dict[str, str] = {}  # by the key frames that they hold
        scenes: dict[str, list[dict[str, Any]]] = {}
        for root, file in zip(self.data_root, self.info_files):
            for record in self._records(root, file):
                token = record['token']
                if token in files:
                    raise DataError(
                        f'key frame {token!r} is both in {files[token]} and '
                        f'in {file}: the data roots must not have any in '
                        'common'
                    )
                files[token] = file
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
                    f'{", ".join(self.info_files)}: there are not as many'
                )
        return data_list

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

    @property
    def info_files(self) -> list[str]:
        """The info file of each root."""
        return [str(Path(root) / self.ann_file) for root in self.data_root]

    def _join_prefix(self) -> None:
        """Nothing: mmengine's knows of a single root, see info_files."""

    def _records(self, root: str, file: str) -> list[dict[str, Any]]:
        """The records of an info file, in its order."""
        _check_paths(root, file)
        return records_of(
            load_infos(file), file, root, self.label_spec.frame, self.cameras
        )


def _check_paths(root: str, file: str) -> None:
    """Raise unless a root and its info file exist, and say what makes them."""
    if not Path(root).is_dir():
        raise FileNotFoundError(
            f'data root {root} does not exist: expected a folder with '
            'samples/ and the info files. Link the data set there, or make '
            'a synthetic one, with a seed that no other town has:\n    '
            f'python tools/create_data.py minitown --root {root} --seed 0'
        )
    if not Path(file).is_file():
        versions = sorted(
            path.name for path in Path(root).glob('v1.0-*') if path.is_dir()
        )
        version = versions[0] if versions else 'v1.0-trainval'
        raise FileNotFoundError(
            f'info file {file} does not exist. Make it with\n    python '
            f'tools/create_data.py nuscenes --root {root} --version {version}'
        )


def _checked_names(cameras: Sequence[str] | None) -> tuple[str, ...] | None:
    if cameras is None:
        return None
    names = tuple(cameras)
    if not names or len(set(names)) != len(names):
        raise ValueError(
            'cameras must be names of cameras, each once, such as '
            f'{list(CAMERAS[:2])}, got {cameras!r}'
        )
    return names
