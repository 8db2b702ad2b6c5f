"""nuScenes and MiniTown, with the labels of any label set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Sequence

from mmdet3d.registry import DATASETS

from occsplat.structures import LabelSpec
from occsplat.structures.checks import checked

from .errors import DataError
from .info_files import load_infos, records_of
from .layout import CAMERAS
from .occ_dataset import OccDataset


@DATASETS.register_module()
class NuScenesOccDataset(OccDataset):
    """Key frames of nuScenes in scene and time order.

    Args:
        data_root (str | sequence): folder that holds ``samples/``, the
            labels and the info files; or several, whose scenes follow
            each other. Scenes of two roots may have the same name.
        ann_file (str): info file, ``.pkl`` or ``.json``, relative to each
            ``data_root`` or absolute. Pickles are read by an unpickler
            that admits plain data only.
        label_spec (str | LabelSpec): of labels in the ego frame or the
            LiDAR's, such as 'openocc' or 'surroundocc'.
        pipeline (list): see OccDataset.
        cameras (sequence, optional): names of the cameras to use, in the
            order of the tensors; cars with other than nuScenes' six name
            theirs. None: all that a key frame has, for work that reads
            cameras one by one, or none.
        **kwargs: further arguments of OccDataset.

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
        label_spec: str | LabelSpec,
        pipeline: Sequence[Any] = (),
        cameras: Sequence[str] | None = CAMERAS,
        **kwargs: Any,
    ) -> None:
        if isinstance(data_root, (str, Path)):
            data_root = [data_root]
        if not data_root:
            raise ValueError('data_root must name a folder, got none')
        self.cameras = _checked_names(cameras)
        super().__init__(
            label_spec,
            pipeline,
            ann_file=ann_file,
            data_root=[str(root) for root in data_root],
            **kwargs,
        )

    def records(self) -> Iterator[dict[str, Any]]:
        """The entries of all info files, root by root."""
        files: dict[str, str] = {}  # by the key frames that they hold
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
                yield record

    @property
    def where(self) -> str:
        """The info files."""
        return ', '.join(self.info_files)

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
