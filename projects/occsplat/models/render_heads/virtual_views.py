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

from occsplat.structures import CameraRig, Cameras, transform_points
from occsplat.structures.checks import (
    Count,
    Natural,
    NonNegative,
    Positive,
    checked,
)

from .camera_strategies import Scene, build_strategy


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


@TASK_UTILS.register_module()
class CameraViews:
    """Pinhole cameras, placed by one of the paper's five strategies.

    Args:
        name (str): goes into the names of the losses.
        strategy (str | dict): 'sensor' (unchanged), 'elevated' (raised and
            tilted down), 'elevated_around' (and moved sideways),
            'random' (anywhere, in any direction) or 'dynamic' (raised, on
            a ring around the ego, looking at the voxel with the highest
            error); or KeepCamera, MoveCamera or LookAtError with numbers
            of their own.
        count (int): cameras per step, drawn from the rig.
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

    #: where arguments went that stood here
    moved_arguments = dict.fromkeys(
        ('height', 'pitch', 'yaw', 'around'),
        "strategy=dict(type='MoveCamera', {}=...)",
    )

    @checked
    def __init__(
        self,
        name: str = 'camera',
        strategy: str | dict = 'elevated_around',
        count: Count = 1,
        camera_weights: Sequence[NonNegative] | None = None,
        min_occupied: Natural = 20,
        tries: Count = 10,
        semantic: NonNegative = 1.0,
        depth: NonNegative = 1.0,
        alpha: NonNegative = 0.0,
        depth_range: Positive | None = None,
    ) -> None:
        self.name = name
        self.strategy = build_strategy(strategy)
        self.count = count
        self.camera_weights = camera_weights
        self.min_occupied = min_occupied
        self.tries = tries
        self.weights = dict(semantic=semantic, depth=depth, alpha=alpha)
        self.depth_range = depth_range

    @property
    def reads_error(self) -> bool:
        """Whether ``Scene.error`` is read."""
        return self.strategy.reads_error

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
            fixed=self.strategy.fixed,
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
        if self.strategy.fixed:
            return self.strategy(sensor, scene, generator)
        for _ in range(self.tries):
            view = self.strategy(sensor, scene, generator)
            seen = _count_seen(view, rig, n, scene.occupied)
            if view is not None and seen >= self.min_occupied:
                return view
        return sensor


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

    reads_error = False

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

    reads_error = False

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
