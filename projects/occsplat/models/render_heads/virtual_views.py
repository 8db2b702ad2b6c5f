"""Where GaussRender puts its cameras.

GaussRender, 2025, section 3.2 and 4.4: the volume is rendered from the
sensors, from cameras moved away from them, and from straight above.

Shape letters: N cameras, V views, X Y Z voxels, P points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Sequence

import torch
from mmdet3d.registry import TASK_UTILS
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    Cameras,
    VoxelGrid,
    inverse,
    transform_points,
)
from occsplat.structures.checks import (
    Count,
    Natural,
    NonNegative,
    Positive,
    Range,
    checked,
)


@dataclass
class Placed:
    """Cameras, and what their images are compared by.

    Attributes:
        cameras (Cameras): V of them, in the reference frame.
        depth_range (float): metres that count as a depth error of 1, a
            constant of the data set (the paper's d_range).
        fixed (bool): whether they are the same in each step of a sample,
            so that images of its labels can be kept.
    """

    cameras: Cameras
    depth_range: float
    fixed: bool = False


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


@dataclass(frozen=True)
class Ranges:
    """What a strategy draws from, uniformly.

    Attributes:
        height: metres above the sensor.
        pitch: degrees downwards, on top of the sensor's.
        yaw: degrees about the vertical, on top of the sensor's.
        around: largest offset along x and y, relative to half the
            extent of the grid.
    """

    height: tuple[float, float] = (0.0, 0.0)
    pitch: tuple[float, float] = (0.0, 0.0)
    yaw: tuple[float, float] = (0.0, 0.0)
    around: float = 0.0


#: The paper describes these in words; the numbers are ours. 'dynamic' draws
#: its height, its place is a ring and its direction a voxel.
STRATEGIES = dict(
    sensor=Ranges(),
    elevated=Ranges(height=(4, 10), pitch=(10, 30), yaw=(-5, 5)),
    elevated_around=Ranges(
        height=(4, 10), pitch=(10, 30), yaw=(-10, 10), around=0.5
    ),
    random=Ranges(height=(-1, 8.5), pitch=(-5, 25), yaw=(0, 360), around=1),
    dynamic=Ranges(height=(4, 10)),
)
#: metres from the ego to the nearest place of a 'dynamic' camera
RING = 5.0
#: metres between such a camera and what it looks at, at least
CLEARANCE = 2.0


@TASK_UTILS.register_module()
class CameraViews:
    """Pinhole cameras, placed by one of the paper's five strategies.

    Args:
        name (str): goes into the names of the losses.
        strategy (str): 'sensor' (unchanged), 'elevated' (raised and
            tilted down), 'elevated_around' (and moved sideways),
            'random' (anywhere, in any direction) or 'dynamic' (raised, on
            a ring around the ego, looking at the voxel with the highest
            error).
        count (int): cameras per step, drawn from the rig.
        height, pitch, yaw (sequence, optional), around (float, optional):
            other ranges than those of the strategy, see Ranges.
        camera_weights (sequence, optional): how often each camera of the
            rig is drawn; equally often by default.
        min_occupied (int): true occupied voxels that a view has to
            contain; it is drawn again otherwise.
        tries (int): draws, after which the sensor's own view is taken.
        semantic, depth, alpha (float): weights of the terms.
        depth_range (float, optional): metres that count as a depth error
            of 1; by default the diagonal of the grid.

    Raises:
        ValueError: for an unknown strategy or a count below 1.
    """

    @checked
    def __init__(
        self,
        name: str = 'camera',
        strategy: str = 'elevated_around',
        count: Count = 1,
        height: Range | None = None,
        pitch: Range | None = None,
        yaw: Range | None = None,
        around: NonNegative | None = None,
        camera_weights: Sequence[NonNegative] | None = None,
        min_occupied: Natural = 20,
        tries: Count = 10,
        semantic: NonNegative = 1.0,
        depth: NonNegative = 1.0,
        alpha: NonNegative = 0.0,
        depth_range: Positive | None = None,
    ) -> None:
        if strategy not in STRATEGIES:
            raise ValueError(
                f'strategy must be one of {tuple(STRATEGIES)}, '
                f'got {strategy!r}'
            )
        default = STRATEGIES[strategy]
        self.name = name
        self.strategy = strategy
        self.count = count
        self.ranges = Ranges(
            tuple(default.height if height is None else height),
            tuple(default.pitch if pitch is None else pitch),
            tuple(default.yaw if yaw is None else yaw),
            default.around if around is None else around,
        )
        self.camera_weights = camera_weights
        self.min_occupied = min_occupied
        self.tries = tries
        self.weights = dict(semantic=semantic, depth=depth, alpha=alpha)
        self.depth_range = depth_range

    def __call__(self, scene: Scene, generator: torch.Generator) -> Placed:
        """Draw the cameras of a step.

        Args:
            scene (Scene): what there is to see.
            generator (torch.Generator): on the CPU.

        Raises:
            ValueError: when camera_weights do not fit the rig.
        """
        rig = scene.rig
        drawn = self._draw_cameras(rig.num_cameras, generator)
        viewmats = [self._place(rig, n, scene, generator) for n in drawn]
        cameras = Cameras(
            torch.stack(viewmats), rig.image_K[drawn], rig.width, rig.height
        )
        return Placed(
            cameras,
            self.depth_range or math.dist(scene.grid.min, scene.grid.max),
            fixed=self.strategy == 'sensor',
        )

    def _draw_cameras(
        self, count: int, generator: torch.Generator
    ) -> list[int]:
        weights = self.camera_weights or [1.0] * count
        if len(weights) != count:
            raise ValueError(
                f'camera_weights: expected {count}, one per camera of the '
                f'rig, got {len(weights)}'
            )
        return torch.multinomial(
            torch.tensor(weights, dtype=torch.float64),
            self.count,
            # each at most once, as long as there are enough
            replacement=self.count > count,
            generator=generator,
        ).tolist()

    def _place(
        self,
        rig: CameraRig,
        n: int,
        scene: Scene,
        generator: torch.Generator,
    ) -> Tensor:
        """A view that sees something, ref -> camera."""
        sensor = rig.ref2cam[n]
        if self.strategy == 'sensor':
            return sensor
        for _ in range(self.tries):
            if self.strategy == 'dynamic':
                view = self._look_at_the_error(sensor, scene, generator)
            else:
                view = self._move(sensor, scene.grid, generator)
            seen = _count_seen(view, rig, n, scene.occupied)
            if view is not None and seen >= self.min_occupied:
                return view
        return sensor

    def _move(
        self, sensor: Tensor, grid: VoxelGrid, generator: torch.Generator
    ) -> Tensor:
        r = self.ranges
        half = [(hi - lo) / 2 for lo, hi in zip(grid.min[:2], grid.max[:2])]
        offset = [
            _uniform(-r.around * h, r.around * h, generator) for h in half
        ]
        offset.append(_uniform(*r.height, generator))
        return moved(
            sensor,
            sensor.new_tensor(offset),
            pitch=_uniform(*r.pitch, generator),
            yaw=_uniform(*r.yaw, generator),
        )

    def _look_at_the_error(
        self, sensor: Tensor, scene: Scene, generator: torch.Generator
    ) -> Tensor | None:
        """None when the place drawn is too close to the target."""
        # the mean of 3^3 voxels: a region, not a single wrong voxel
        error = torch.nn.functional.avg_pool3d(
            scene.error[None, None].float(), 3, stride=1, padding=1
        )
        target = scene.grid.centers(sensor.device).view(-1, 3)[
            int(error.argmax())
        ]
        extent = min(
            hi - lo for lo, hi in zip(scene.grid.min[:2], scene.grid.max[:2])
        )
        radius = _uniform(RING, extent / 4, generator)
        angle = _uniform(0, 2 * math.pi, generator)
        height = _uniform(*self.ranges.height, generator)
        eye = inverse(sensor)[:3, 3].clone()
        eye[0] = radius * math.cos(angle)
        eye[1] = radius * math.sin(angle)
        eye[2] += height
        if float((target - eye).norm()) < CLEARANCE:
            return None
        return look_at(eye, target)


@TASK_UTILS.register_module()
class PlaneView:
    """An orthographic view of the whole grid along one of its axes.

    From above (the default), columns run along +x and rows along -y, so
    that forward is to the right and left is up. From +x or +y, columns run
    along the other horizontal axis and up is up.

    Args:
        name (str): goes into the names of the losses.
        axis (str): 'x', 'y' or 'z': the view looks down this axis, from
            its upper end.
        pixels_per_voxel (float): resolution.
        semantic, depth, alpha (float): weights of the terms.
        depth_range (float, optional): metres that count as a depth error
            of 1; by default the depth of the grid's far side.

    Raises:
        ValueError: for another axis.
    """

    @checked
    def __init__(
        self,
        name: str = 'bev',
        axis: Literal['x', 'y', 'z'] = 'z',
        pixels_per_voxel: Positive = 1.0,
        semantic: NonNegative = 1.0,
        depth: NonNegative = 1.0,
        alpha: NonNegative = 0.0,
        depth_range: Positive | None = None,
    ) -> None:
        self.name = name
        self.axis = 'xyz'.index(axis)
        self.pixels_per_voxel = pixels_per_voxel
        self.weights = dict(semantic=semantic, depth=depth, alpha=alpha)
        self.depth_range = depth_range

    def __call__(
        self, scene: Scene, generator: torch.Generator | None = None
    ) -> Placed:
        """The view; nothing is drawn."""
        like, grid = scene.rig.ref2cam, scene.grid
        # the image's u and v axes in the reference frame, rows of R
        across, down = {
            0: ((0, 1, 0), (0, 0, -1)),
            1: ((-1, 0, 0), (0, 0, -1)),
            2: ((1, 0, 0), (0, -1, 0)),
        }[self.axis]
        rotation = like.new_zeros(3, 3)
        rotation[0] = like.new_tensor(across)
        rotation[1] = like.new_tensor(down)
        rotation[2, self.axis] = -1
        view = torch.eye(4).to(like)
        view[:3, :3] = rotation
        # a metre above the grid, since depths have to be positive
        eye = grid.max[self.axis] + 1
        view[2, 3] = eye
        sizes, ks, lengths = grid.size, [], []
        for row in range(2):
            k = int(rotation[row].abs().argmax())
            scale = self.pixels_per_voxel / sizes[k]
            ends = [
                float(rotation[row, k]) * e for e in (grid.min[k], grid.max[k])
            ]
            ks.append((scale, -scale * min(ends)))
            lengths.append(round(scale * (max(ends) - min(ends))))
        (fx, cx), (fy, cy) = ks
        K = like.new_tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        return Placed(
            Cameras(view[None], K[None], *lengths, camera_model='ortho'),
            self.depth_range or eye - grid.min[self.axis],
            fixed=True,
        )


@TASK_UTILS.register_module()
class PinholeFromAbove:
    """The released code's bird's-eye view, which is no plane.

    A pinhole camera as high above the reference frame's origin as the grid
    is long, looking down: tall things at the border fall outside, and a
    metre is larger the higher it is.

    Args:
        name (str): goes into the names of the losses.
        focal (float): pixels.
        size (int): width and height in pixels.
        semantic, depth, alpha (float): weights of the terms.
        depth_range (float): metres that count as a depth error of 1.
    """

    @checked
    def __init__(
        self,
        name: str = 'bev',
        focal: Positive = 400.0,
        size: Count = 400,
        semantic: NonNegative = 1.0,
        depth: NonNegative = 1.0,
        alpha: NonNegative = 0.0,
        depth_range: Positive = 100.0,
    ) -> None:
        self.name = name
        self.focal = focal
        self.size = size
        self.weights = dict(semantic=semantic, depth=depth, alpha=alpha)
        self.depth_range = depth_range

    def __call__(
        self, scene: Scene, generator: torch.Generator | None = None
    ) -> Placed:
        """The view; nothing is drawn."""
        like, grid = scene.rig.ref2cam, scene.grid
        view = torch.diag(like.new_tensor([1, -1, -1, 1]))
        view[2, 3] = grid.max[0] - grid.min[0]
        c = self.size / 2
        K = like.new_tensor(
            [[self.focal, 0, c], [0, self.focal, c], [0, 0, 1]]
        )
        return Placed(
            Cameras(view[None], K[None], self.size, self.size),
            self.depth_range,
            fixed=True,
        )


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


def _count_seen(
    view: Tensor | None, rig: CameraRig, n: int, points: Tensor
) -> int:
    """Points (P, 3) in front of a camera and inside its image."""
    if view is None:
        return 0
    local = transform_points(view, points)
    pixels = local @ rig.image_K[n].T
    depth = local[:, 2]
    u, v = (pixels[:, :2] / depth.clamp(min=0.1)[:, None]).unbind(1)
    inside = (u > 0) & (u < rig.width) & (v > 0) & (v < rig.height)
    return int((inside & (depth > 0.1)).sum())


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
