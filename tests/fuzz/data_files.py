"""Broken and hostile files of a data set."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import shutil
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import mutate
import numpy as np
from PIL import Image

from occsplat.data import NuScenesOccDataset
from occsplat.data.pixel_files import read_packed
from occsplat.data.safe_pickle import load_plain
from occsplat.structures import LabelSpec

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test_data'))

from little_drive import write_drive, write_npz  # noqa: E402

Case = tuple[str, Callable[[], Any], bool]
SPEC = LabelSpec.named('openocc')
PIPELINE = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadLidarPoints'),
    dict(type='LoadOccLabels', label_spec='openocc'),
    dict(type='ImageAug', size=(80, 40)),
    dict(type='LidarDepth'),
    dict(type='PackOccInputs'),
]


def read_all(root: Path, ann_file: str = 'infos.json') -> Callable[[], Any]:
    """Load a data set and its frames, as a loader does."""

    def read() -> None:
        dataset = NuScenesOccDataset(
            str(root),
            ann_file,
            pipeline=PIPELINE,
            test_mode=True,
            label_spec='openocc',
        )
        for i in range(len(dataset)):
            dataset[i]

    return read


def labels() -> dict[str, np.ndarray]:
    """An OpenOcc label file's arrays."""
    occ = np.full(SPEC.grid.shape, SPEC.free, np.uint8)
    occ[:, :, 0] = 10
    flow = np.zeros((*SPEC.grid.shape, 2), np.float16)
    return dict(semantics=occ, flow=flow)


def make_root(folder: Path) -> Path:
    """A drive of one frame with all its files."""
    root = folder / 'drive'
    root.mkdir()
    (info,) = write_drive(root, scenes=(('a', 1),))
    write_npz(root / info['openocc_path'], **labels())
    mask = np.ones(SPEC.grid.shape, bool)
    write_npz(root / info['visibility_path'], ray_mask2=mask)
    return root


def with_file(path: Path, raw: bytes, call: Callable[[], Any]) -> Callable:
    """Call with a file's content replaced."""

    def changed() -> None:
        before = path.read_bytes()
        path.write_bytes(raw)
        try:
            call()
        finally:
            path.write_bytes(before)

    return changed


def npz(**arrays: Any) -> bytes:
    """An archive; objects are pickled in it."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def image(kind: str, mode: str = 'RGB', size: tuple = (160, 90)) -> bytes:
    """A picture of any format."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def cases(folder: Path, rng: random.Random, canary: Path) -> Iterator[Case]:
    """Info files, images, clouds, labels."""
    root = make_root(folder)
    read = read_all(root)
    read()  # what is not broken loads
    infos = json.loads((root / 'infos.json').read_text())
    yield from _infos(root, infos, rng, canary)
    (info,) = infos['data_list']
    first = info['images']['CAM_FRONT']['img_path']
    picture = root / 'samples/CAM_FRONT' / first
    good = picture.read_bytes()
    for name, raw in mutate.FOREIGN.items():
        yield f'image {name}', with_file(picture, raw, read), True
    for name, raw in mutate.damaged(image('JPEG'), rng, 8):
        yield f'jpeg {name}', with_file(picture, raw, read), False
    for name, raw in mutate.damaged(good, rng, 8):
        yield f'png {name}', with_file(picture, raw, read), False
    for kind in ('BMP', 'GIF', 'TIFF', 'WEBP', 'EPS', 'PPM', 'ICO'):
        yield f'image {kind}', with_file(picture, image(kind), read), True
    cmyk = image('JPEG', 'CMYK')
    yield 'image CMYK', with_file(picture, cmyk, read), True
    other = image('PNG', size=(80, 45))
    yield 'image of another size', with_file(picture, other, read), True
    yield from _arrays(root, info, read, rng, canary)
    shutil.rmtree(root)


def _infos(
    root: Path, infos: dict, rng: random.Random, canary: Path
) -> Iterator[Case]:
    def as_json(content: Any, name: str = 'broken.json') -> Callable:
        def call() -> None:
            (root / name).write_text(json.dumps(content))
            read_all(root, name)()

        return call

    def as_pickle(raw: bytes) -> Callable[[], Any]:
        def call() -> None:
            (root / 'broken.pkl').write_bytes(raw)
            read_all(root, 'broken.pkl')()

        return call

    usable = [w for w in mutate.WRONG if not isinstance(w, bytes)]
    for name, content in mutate.misfilled(infos, rng, 70):
        try:
            json.dumps(content)
        except TypeError:
            yield name, as_pickle(pickle.dumps(content)), False
        else:
            yield name, as_json(content), False
    for wrong in usable:
        yield f'infos are {wrong!r:.20}', as_json(wrong), True
    for key in ('cam2img', 'lidar2cam', 'ego2global', 'lidar2ego'):
        for name, change in CALIBRATIONS.items():
            content = copy.deepcopy(infos)
            (info,) = content['data_list']
            holder = dict(
                cam2img=info['images']['CAM_BACK'],
                lidar2cam=info['images']['CAM_BACK'],
                ego2global=info,
                lidar2ego=info['lidar_points'],
            )[key]
            holder[key] = change(np.array(holder[key])).tolist()
            yield f'{key} {name}', as_json(content), True
    for name, raw in mutate.FOREIGN.items():
        yield f'infos {name}', as_pickle(raw), True
    for name, raw in mutate.hostile(canary):
        yield f'infos {name}', as_pickle(raw), True
    for name, raw in mutate.damaged(pickle.dumps(infos), rng, 20):
        yield f'infos {name}', as_pickle(raw), False
    yield 'infos .txt', lambda: load_plain(root / 'infos.txt'), True


#: each turns a matrix into one that no sensor has
CALIBRATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'zero': lambda m: 0 * m,
    'nan': lambda m: m * np.nan,
    'transposed': lambda m: m.T,
    'negative': lambda m: -m,
    'mirrored': lambda m: m @ np.diag([-1, 1, 1, 1][: len(m)]),
    'sheared': lambda m: m @ (np.eye(len(m)) + np.eye(len(m), k=1)),
    'cut': lambda m: m[:2],
    'scaled': lambda m: np.diag([7, 7, 7, 1][: len(m)]) @ m,
}


def _arrays(
    root: Path,
    info: dict,
    read: Callable[[], Any],
    rng: random.Random,
    canary: Path,
) -> Iterator[Case]:
    cloud = root / 'samples/LIDAR_TOP' / info['lidar_points']['lidar_path']
    points = np.fromfile(cloud, np.float32).reshape(-1, 5)
    for name, raw in (
        ('empty', b''),
        ('cut', points.tobytes()[:-7]),
        ('nan', (points * np.nan).tobytes()),
        ('of doubles', points[:401].astype(np.float64).tobytes()[:-4]),
        ('npy', mutate.FOREIGN['npy']),
    ):
        yield f'cloud {name}', with_file(cloud, raw, read), True
    path = root / info['openocc_path']
    whole = labels()
    occ, flow = whole['semantics'], whole['flow']
    for name, arrays in (
        ('none', {}),
        ('no flow', dict(semantics=occ)),
        ('no semantics', dict(flow=flow)),
        ('cut', dict(semantics=occ[:-1], flow=flow)),
        ('floats', dict(semantics=occ.astype(float), flow=flow)),
        ('bools', dict(semantics=occ > 3, flow=flow)),
        ('unknown ids', dict(semantics=occ + 40, flow=flow)),
        ('negative ids', dict(semantics=occ.astype(int) - 99, flow=flow)),
        ('text', dict(semantics=occ.astype('U2'), flow=flow)),
        ('text flow', dict(semantics=occ, flow=flow.astype('U2'))),
        ('objects', dict(semantics=occ.astype(object), flow=flow)),
    ):
        yield f'labels {name}', with_file(path, npz(**arrays), read), True
    for name, raw in mutate.FOREIGN.items():
        yield f'labels {name}', with_file(path, raw, read), True
    for name, raw in mutate.damaged(path.read_bytes(), rng, 16):
        yield f'labels {name}', with_file(path, raw, read), False
    mask = root / info['visibility_path']
    for name, array in (
        ('of counts', np.full(occ.shape, 7, np.uint8)),
        ('of floats', np.full(occ.shape, 0.5)),
        ('cut', np.ones((3, 3, 3), bool)),
    ):
        yield f'mask {name}', with_file(mask, npz(ray_mask2=array), read), True
    packed = root / 'pixels.npz'
    for name, raw in (
        *mutate.FOREIGN.items(),
        ('no arrays', npz(a=occ)),
        ('objects', npz(uv=np.array([canary], object))),
    ):

        def read_pixels(raw: bytes = raw) -> None:
            packed.write_bytes(raw)
            read_packed(str(packed))

        yield f'2D labels {name}', read_pixels, True
