"""A small scene for the viewer, and how to read a page back."""

import base64
import json
import re
import zlib

import numpy as np
import torch

from occsplat.structures import CameraRig, LabelSpec, OccDataSample
from occsplat.visualization import Boxes
from occsplat.visualization.viewer import viewer_frame

SPEC = LabelSpec.named('openocc')
SHAPE = (50, 50, 8)
CAR, TRUCK, ROAD, WALL = (
    SPEC.classes.index(name)
    for name in ('car', 'truck', 'driveable_surface', 'manmade')
)


def volume(*things) -> torch.Tensor:
    """A road, a wall that hides voxels, and (class, x, y) of blocks."""
    occ = torch.full(SHAPE, SPEC.free, dtype=torch.uint8)
    occ[:, :, 1] = ROAD
    occ[30:40, 10:16, 2:7] = WALL
    for label, x, y in things:
        occ[x : x + 4, y : y + 3, 2:5] = label
    return occ


def two_cameras() -> CameraRig:
    """One ahead and one to the left, off the middle of their images."""
    ahead = [[0.0, -1, 0, 0.2], [0, 0, -1, 1.6], [1, 0, 0, -1], [0, 0, 0, 1]]
    left = [[1.0, 0, 0, 0.3], [0, 0, -1, 1.5], [0, 1, 0, -0.5], [0, 0, 0, 1]]
    K = [[60.0, 0, 41], [0, 60, 20], [0, 0, 1]]
    return CameraRig.from_matrices(
        torch.tensor([ahead, left]), torch.tensor([K, K]), 80, 44
    )


def sample(step: int, prediction: bool = True) -> OccDataSample:
    """A car that has driven ``step`` voxels; taken for a truck, half."""
    out = OccDataSample()
    out.gt_occ = volume((CAR, 32 + step, 24), (CAR, 12, 10))
    out.gt_occ[0, :, 1] = SPEC.ignore
    out.gt_flow = torch.zeros(*SHAPE, 2)
    out.gt_flow[30:, 20:30] = torch.tensor([4.0, 0.5])
    out.gt_visible = torch.zeros(SHAPE, dtype=torch.bool)
    out.gt_visible[20:] = True
    if prediction:
        out.pred_occ = volume((TRUCK, 33 + step, 24), (TRUCK, 5, 30))
        out.pred_flow = torch.zeros(*SHAPE, 2)
        out.pred_flow[..., 1] = 3.0
    return out


def photos(count: int = 2) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (44, 80, 3), 'u1')] * count


def boxes() -> Boxes:
    """One in the volume and one beyond it."""
    around = [
        [12.8, -0.4, 1.0, 6.4, 4.8, 3.0, 0.1],
        [70, 0, 1, 5, 2, 2, 0],
    ]
    return Boxes.from_arrays(np.array(around), np.array([CAR, TRUCK]), SPEC)


def frame(step: int = 0, prediction: bool = True, title: str = 'a frame'):
    points = np.random.default_rng(1).uniform(-20, 20, (500, 3))
    return viewer_frame(
        sample(step, prediction),
        photos(),
        SPEC,
        two_cameras(),
        points,
        boxes(),
        ('CAM_FRONT', 'CAM_LEFT'),
        title,
    )


def read_page(path) -> tuple[dict, list[dict]]:
    """The scene and the frames of a page, arrays as arrays."""
    text = path.read_text(encoding='utf-8')
    found = re.findall(
        r'<script type="application/json" class="(\w+)">(.*?)</script>', text
    )
    assert [kind for kind, _ in found[:2]] == ['scene', 'frame']
    scene, *frames = (json.loads(content) for _, content in found)
    for content in frames:
        data = zlib.decompress(base64.b64decode(content['data']))
        content['arrays'] = {
            name: np.frombuffer(
                data, dtype, int(np.prod(shape)), place
            ).reshape(shape)
            for name, (dtype, shape, place) in content['arrays'].items()
        }
    return scene, frames


def surface(shown: np.ndarray) -> int:
    """How many voxels have a face that no other covers."""
    padded = np.pad(shown, 1)
    covered = np.ones_like(shown)
    for axis in range(3):
        for shift in (-1, 1):
            moved = np.roll(padded, shift, axis)
            covered &= moved[1:-1, 1:-1, 1:-1]
    return int((shown & ~covered).sum())
