"""How a camera of the car is moved to look from somewhere else.

GaussRender, 2025, section 3.2 and 4.4, names five strategies. It describes
them in words; the numbers in ``STRATEGIES`` are ours.

Shape letters: P points, X Y Z voxels. Matrices lead from the reference
frame to a camera with x right, y down, z forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from mmdet3d.registry import TASK_UTILS
from torch import Tensor

from occsplat.structures import CameraRig, VoxelGrid, inverse
from occsplat.structures.checks import NonNegative, Range, checked

#: metres from the ego to the nearest place of a LookAtError camera
RING = 5.0
#: metres between such a camera and what it looks at, at least
CLEARANCE = 2.0


@dataclass
class Scene:
    """What a view may look at; all in the reference frame.

    Attributes:
        rig (CameraRig): the N sensors, in the size to be rendered.
        grid (VoxelGrid): of the volume.
        occupied (Tensor): centres of the true occupied voxels, (P, 3).
        error (Tensor): how wrong each voxel is, (X, Y, Z), no gradient.
            Views that draw nothing do without these two.
    """

    rig: CameraRig
    grid: VoxelGrid
    occupied: Tensor | None = None
    error: Tensor | None = None


class Strategy(Protocol):
    """A way to move a camera.

    Attributes:
        fixed: whether it draws nothing.
        reads_error: whether it reads ``Scene.error``.
    """

    fixed: bool
    reads_error: bool

    def __call__(
        self, sensor: Tensor, scene: Scene, generator: torch.Generator
    ) -> Tensor | None:
        """A sensor (4, 4) -> a camera, (4, 4), or None for a bad draw."""


@TASK_UTILS.register_module()
class KeepCamera:
    """Where it is: the paper's 'sensor'."""

    fixed = True
    reads_error = False

    def __call__(
        self, sensor: Tensor, scene: Scene, generator: torch.Generator
    ) -> Tensor:
        """The sensor itself."""
        return sensor


@TASK_UTILS.register_module()
class MoveCamera:
    """Raised, tilted, turned and moved sideways, each drawn uniformly.

    The paper's 'elevated', 'elevated_around' and 'random'.

    Args:
        height (sequence): metres above the sensor, lowest and highest.
        pitch (sequence): degrees downwards, on top of the sensor's.
        yaw (sequence): degrees about the vertical, on top of the sensor's.
        around (float): largest offset along x and y, relative to half the
            extent of the grid.
    """

    fixed = False
    reads_error = False

    @checked
    def __init__(
        self,
        height: Range = (0.0, 0.0),
        pitch: Range = (0.0, 0.0),
        yaw: Range = (0.0, 0.0),
        around: NonNegative = 0.0,
    ) -> None:
        self.height = tuple(height)
        self.pitch = tuple(pitch)
        self.yaw = tuple(yaw)
        self.around = around

    def __call__(
        self, sensor: Tensor, scene: Scene, generator: torch.Generator
    ) -> Tensor:
        """A camera drawn around the sensor."""
        grid = scene.grid
        half = [(hi - lo) / 2 for lo, hi in zip(grid.min[:2], grid.max[:2])]
        offset = [
            _uniform(-self.around * h, self.around * h, generator)
            for h in half
        ]
        offset.append(_uniform(*self.height, generator))
        return moved(
            sensor,
            sensor.new_tensor(offset),
            pitch=_uniform(*self.pitch, generator),
            yaw=_uniform(*self.yaw, generator),
        )


@TASK_UTILS.register_module()
class LookAtError:
    """On a ring around the ego, looking at the region of highest error.

    The paper's 'dynamic'. The ring reaches from 5 m to a quarter of the
    grid's extent; a region has 3x3x3 voxels.

    Args:
        height (sequence): metres above the sensor, lowest and highest.
    """

    fixed = False
    reads_error = True

    @checked
    def __init__(self, height: Range = (4.0, 10.0)) -> None:
        self.height = tuple(height)

    def __call__(
        self, sensor: Tensor, scene: Scene, generator: torch.Generator
    ) -> Tensor | None:
        """None when the place drawn is too close to the target."""
        target = _worst_place(scene.grid, scene.error)
        extent = min(
            hi - lo for lo, hi in zip(scene.grid.min[:2], scene.grid.max[:2])
        )
        radius = _uniform(RING, extent / 4, generator)
        angle = _uniform(0, 2 * math.pi, generator)
        height = _uniform(*self.height, generator)
        eye = inverse(sensor)[:3, 3].clone()
        eye[0] = radius * math.cos(angle)
        eye[1] = radius * math.sin(angle)
        eye[2] += height
        if float((target - eye).norm()) < CLEARANCE:
            return None
        return look_at(eye, target)


#: the paper's, by its names
STRATEGIES = dict(
    sensor=dict(type=KeepCamera),
    elevated=dict(
        type=MoveCamera, height=(4, 10), pitch=(10, 30), yaw=(-5, 5)
    ),
    elevated_around=dict(
        type=MoveCamera,
        height=(4, 10),
        pitch=(10, 30),
        yaw=(-10, 10),
        around=0.5,
    ),
    random=dict(
        type=MoveCamera,
        height=(-1, 8.5),
        pitch=(-5, 25),
        yaw=(0, 360),
        around=1,
    ),
    dynamic=dict(type=LookAtError, height=(4, 10)),
)


def build_strategy(strategy: str | dict) -> Strategy:
    """One of the paper's by its name, or one with numbers of its own.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            raise ValueError(
                f'strategy must be one of {tuple(STRATEGIES)} or a dict '
                f'such as {{"type": "MoveCamera", ...}}, got {strategy!r}'
            )
        strategy = STRATEGIES[strategy]
    return TASK_UTILS.build(dict(strategy))


def moved(ref2cam: Tensor, offset: Tensor, pitch: float, yaw: float) -> Tensor:
    """A camera at another place, in another direction.

    Args:
        ref2cam (Tensor): (4, 4); may mirror.
        offset (Tensor): metres along the axes of the reference frame, (3,).
        pitch (float): degrees downwards, about the camera's own x axis.
        yaw (float): degrees to the left, about the vertical.

    Returns:
        Tensor: ref -> camera, (4, 4).
    """
    cam2ref = inverse(ref2cam)
    a, b = math.radians(pitch), math.radians(yaw)
    # columns: the new axes in the old camera; forward goes down, to +y
    tilt = cam2ref.new_tensor(
        [
            [1, 0, 0],
            [0, math.cos(a), math.sin(a)],
            [0, -math.sin(a), math.cos(a)],
        ]
    )
    turn = cam2ref.new_tensor(
        [
            [math.cos(b), -math.sin(b), 0],
            [math.sin(b), math.cos(b), 0],
            [0, 0, 1],
        ]
    )
    out = cam2ref.clone()
    out[:3, :3] = turn @ cam2ref[:3, :3] @ tilt
    out[:3, 3] = cam2ref[:3, 3] + offset
    return inverse(out)


def look_at(eye: Tensor, target: Tensor) -> Tensor:
    """A level camera at a place that looks at another one.

    Args:
        eye, target (Tensor): metres, (3,), not above each other.

    Returns:
        Tensor: ref -> camera, (4, 4), x right, y down, z forward.
    """
    forward = torch.nn.functional.normalize(target - eye, dim=0)
    up = forward.new_tensor([0, 0, 1])
    right = torch.linalg.cross(forward, up)
    if float(right.norm()) < 1e-3:
        # straight down: any direction will do
        right = forward.new_tensor([0, -1, 0])
    right = torch.nn.functional.normalize(right, dim=0)
    down = torch.linalg.cross(forward, right)
    view = torch.eye(4).to(eye)
    view[:3, :3] = torch.stack((right, down, forward))
    view[:3, 3] = -view[:3, :3] @ eye
    return view


def _worst_place(grid: VoxelGrid, error: Tensor) -> Tensor:
    """Centre of the 3^3 voxels with the highest mean error, (3,)."""
    # a region, not a single wrong voxel
    mean = torch.nn.functional.avg_pool3d(
        error[None, None].float(), 3, stride=1, padding=1
    )
    return grid.centers(error.device).view(-1, 3)[int(mean.argmax())]


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
