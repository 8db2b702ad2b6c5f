"""One scene of MiniTown: an analytic world that every sensor looks at.

Global frame: metres, z up, the ground's top at GROUND_Z. Time: seconds
since the scene's first key frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..kernels import njit
from . import primitives as pr
from .classes import EMPTY, attribute_of
from .ground import GROUND_BOTTOM, GROUND_Z, Ground, ground_at, to_town
from .light import Light, random_light
from .motion import Motion
from .space import Space
from .town import Town
from .traffic import EGO_HALF, PLANS, Thing, Traffic, ego_motion

#: the mini scenes of nuScenes, ordered so that the first two hold one of
#: the devkit's training split and one of its validation split
SCENES = (
    'scene-0061',
    'scene-0103',
    'scene-0553',
    'scene-0655',
    'scene-0757',
    'scene-0796',
    'scene-0916',
    'scene-1077',
    'scene-1094',
    'scene-1100',
)

#: seconds between key frames
FRAME_STEP = 0.5
#: key frames a scene may have; the traffic is planned for that long
MAX_FRAMES = 20


@dataclass(frozen=True)
class World:
    """Everything there is in a scene, at any time.

    Attributes:
        name: scene name.
        plan: what the ego vehicle does, one of traffic.PLANS.
        ground: the plan of streets, in the global frame.
        scenery: solids without an owner, shape (n,), dtype PRIMITIVE.
        things: annotated objects; the owner of a primitive is an index
            into them. Those that move come first.
        ego: the ego vehicle's motion.
        light: sun, sky and colours.
    """

    name: str
    plan: str
    ground: Ground
    scenery: np.ndarray
    things: tuple[Thing, ...]
    ego: Motion
    light: Light

    @cached_property
    def num_moving(self) -> int:
        """Number of things that move."""
        return sum(thing.moves for thing in self.things)

    @cached_property
    def still(self) -> np.ndarray:
        """All solids that never move, dtype PRIMITIVE."""
        rest = range(self.num_moving, len(self.things))
        poses = np.array([self.things[i].motion.at(0.0) for i in rest])
        return np.concatenate([self._posed(rest, poses), self.scenery])

    def moving(self, t: float) -> np.ndarray:
        """The solids of everything that moves, at time t (seconds)."""
        indices = range(self.num_moving)
        poses = np.array([self.things[i].motion.at(t) for i in indices])
        return self._posed(indices, poses)

    def primitives(self, t: float) -> np.ndarray:
        """All solids at time t, in order of precedence."""
        return np.concatenate([self.moving(t), self.still])

    def _posed(self, indices: range, poses: np.ndarray) -> np.ndarray:
        """Solids of things at given poses (len(indices), 3)."""
        if not len(indices):
            return np.empty(0, pr.PRIMITIVE)
        parts = [self.things[i].actor.parts for i in indices]
        counts = [len(p) for p in parts]
        x, y, yaw = np.repeat(poses, counts, 0).T
        moved = pr.placed(np.concatenate(parts), x, y, yaw)
        moved['owner'] = np.repeat(np.array(indices), counts)
        return moved

    def class_at(self, points: np.ndarray, t: float) -> np.ndarray:
        """What the world says at points: solids first, then the ground.

        Where solids overlap the first one in `primitives(t)` counts.

        Args:
            points: global positions, shape (..., 3).
            t: seconds.

        Returns:
            np.ndarray: lidarseg indices, int32, shape (...); 0 is empty.
        """
        points = np.asarray(points, np.float64)
        flat = np.ascontiguousarray(points.reshape(-1, 3))
        out = _classes(flat, self.primitives(t), *self.ground.arrays)
        return out.reshape(points.shape[:-1])

    def ego_pose(self, t: float) -> np.ndarray:
        """ego2global at time t, float64, shape (4, 4)."""
        return _planar(*self.ego.at(t))

    def box(self, index: int, t: float) -> tuple[np.ndarray, np.ndarray]:
        """The box of a thing.

        Args:
            index: into `things`.
            t: seconds.

        Returns:
            tuple: global pose of the box, shape (4, 4), and its (l, w, h).
        """
        thing = self.things[index]
        centre, size = thing.actor.box
        pose = _planar(*thing.motion.at(t))
        pose[:3, 3] = pose[:3, :3] @ centre + pose[:3, 3]
        return pose, size

    def velocity(self, index: int, frame: int, frames: int) -> np.ndarray:
        """Velocity of a thing's box centre at a key frame.

        The central difference over the neighbouring key frames, at the
        ends of the scene the one-sided one: what nuscenes-devkit makes of
        the annotations.

        Args:
            index: into `things`.
            frame: index of the key frame.
            frames: number of key frames in the scene.

        Returns:
            np.ndarray: m/s along global x, y, z, shape (3,).
        """
        first, last = max(frame - 1, 0), min(frame + 1, frames - 1)
        ends = [
            self.box(index, k * FRAME_STEP)[0][:3, 3] for k in (first, last)
        ]
        return (ends[1] - ends[0]) / ((last - first) * FRAME_STEP)

    def attribute(self, index: int, speed: float) -> str | None:
        """The nuScenes attribute of a thing at a speed in m/s."""
        actor = self.things[index].actor
        return attribute_of(actor.category, speed, actor.rider)


# a world never changes, and frames and tables of a scene share it
@lru_cache(maxsize=len(SCENES))
def build_world(scene: int, seed: int = 0) -> World:
    """Build a scene.

    Args:
        scene: index into SCENES.
        seed: of the whole data set.

    Returns:
        World: the same for the same arguments.

    Raises:
        ValueError: if there is no such scene.
    """
    if not 0 <= scene < len(SCENES):
        raise ValueError(f'scene is an index below {len(SCENES)}, got {scene}')
    rng = np.random.default_rng([seed, scene])
    plan = PLANS[(scene + seed) % len(PLANS)]
    space = Space()
    town = Town(rng, space)
    ego = ego_motion(rng, plan, town.corner)
    space.claim([(ego, EGO_HALF)])
    traffic = Traffic(rng, town, space, ego)
    for x in (town.corner - 14.0, town.corner + 14.0, -40.0):
        town.island(x)
    # movers first: labels and rendering treat them apart
    things = sorted(traffic.things, key=lambda thing: not thing.moves)
    shift = (rng.uniform(300, 1500), rng.uniform(300, 1500))
    yaw = float(rng.uniform(-math.pi, math.pi))
    frame = np.array([*shift, math.cos(yaw), math.sin(yaw)])
    ground = town.ground
    return World(
        name=SCENES[scene],
        plan=plan,
        ground=Ground(
            frame, ground.streets_x, ground.streets_y, ground.blocks
        ),
        scenery=pr.placed(town.parts, *shift, yaw),
        things=tuple(
            Thing(t.actor, t.motion.moved(*shift, yaw)) for t in things
        ),
        ego=ego.moved(*shift, yaw),
        light=random_light(rng),
    )


def _planar(x: float, y: float, yaw: float) -> np.ndarray:
    """A pose in the plane as a matrix."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array(
        [[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, 0], [0, 0, 0, 1.0]]
    )


@njit(cache=True, error_model='numpy')
def _classes(points, parts, frame, streets_x, streets_y, blocks):
    """class_at for many points, by exhaustion."""
    out = np.full(len(points), EMPTY, np.int32)
    for n in range(len(points)):
        x, y, z = points[n]
        found = False
        for i in range(len(parts)):
            if pr.contains(parts[i], x, y, z):
                out[n] = parts[i].category
                found = True
                break
        if not found and GROUND_BOTTOM <= z <= GROUND_Z:
            u, v = to_town(frame, x, y)
            out[n] = ground_at(streets_x, streets_y, blocks, u, v)[0]
    return out
