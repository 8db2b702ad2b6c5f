"""Fills a town with an ego vehicle, traffic, people and props.

In town axes. Traffic keeps to the right. Nothing is placed where it would
touch anything else during the recording; what finds no room is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from . import actors, props
from .actors import Actor
from .ground import SIDEWALK_WIDTH
from .motion import Motion, Path, Speed, standing
from .space import Block, Space
from .town import MAIN_HALF, SIDE_HALF, Town

LANE = 1.75
CYCLE_LANE = 3.85
KERB_LANE = 5.85
EGO_START = -32.0
EGO_HALF = (4.2, 1.1)

#: what the ego vehicle does, by scene
PLANS = ('cruise', 'right', 'left', 'stop', 'right', 'cruise', 'left', 'slow')


@dataclass(frozen=True)
class Thing:
    """An actor and where it is over time."""

    actor: Actor
    motion: Motion

    @property
    def moves(self) -> bool:
        """Whether it ever moves."""
        return self.motion.speed is not None


def ego_motion(rng: np.random.Generator, plan: str, corner: float) -> Motion:
    """The ego vehicle's drive along the main street.

    Args:
        rng: source of randomness.
        plan: one of PLANS.
        corner: x of the side street to turn into.

    Returns:
        Motion: in town axes.
    """
    start = (EGO_START, -LANE, 0.0)
    v = float(rng.uniform(7.0, 9.5))
    if plan in ('right', 'left'):
        left = plan == 'left'
        radius = 10.0 if left else 9.0
        x = corner + (LANE if left else -LANE) - radius - EGO_START
        curvature = (1.0 if left else -1.0) / radius
        path = Path(start, ((x, 0.0), (radius * math.pi / 2, curvature)))
        brake = max((x - 12.0) / v, 0.5)
        slow = 5.0
        knots = (
            (0.0, v),
            (brake, v),
            (brake + 1.6, slow),
            (brake + 4.2, slow),
            (brake + 6.5, 8.0),
        )
        return Motion(path, Speed(knots))
    path = Path(start)
    if plan == 'stop':
        knots = ((0.0, v), (1.0, v), (3.4, 0.0), (4.6, 0.0), (8.0, 7.0))
    elif plan == 'slow':
        knots = ((0.0, 4.0), (3.0, 6.0), (5.0, 3.0), (8.0, 5.0))
    else:
        knots = ((0.0, v), (3.0, v + 2.0), (5.0, v + 2.0), (8.0, v - 1.0))
    return Motion(path, Speed(knots))


class Traffic:
    """Places things until the streets are busy.

    Attributes:
        ego: the ego vehicle's motion.
        things: what has been placed.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        town: Town,
        space: Space,
        ego: Motion,
    ) -> None:
        self.ego = ego
        self.things: list[Thing] = []
        self._rng = rng
        self._town = town
        self._space = space
        self._roadworks()
        self._bus_stop()
        self._convoy()
        self._lorries()
        self._lane_traffic()
        self._cycles()
        self._parked()
        self._people()
        self._props()

    def _place(self, *pairs: tuple[Actor, Motion], margin=0.2) -> bool:
        """Add actors as one group, if there is room for all."""
        boxes = [
            (motion, (_reach(actor, 0), _reach(actor, 1)))
            for actor, motion in pairs
        ]
        if not self._space.claim(boxes, margin):
            return False
        self.things += [Thing(actor, motion) for actor, motion in pairs]
        return True

    def _ahead(self) -> float:
        """An x on the main street that the ego vehicle passes or nears."""
        return float(self._rng.uniform(EGO_START + 8.0, 30.0))

    def _beside(self) -> tuple[float, float]:
        """A place on the sidewalk of the main street, away from corners."""
        side = float(self._rng.choice([-1.0, 1.0]))
        y = side * (MAIN_HALF + self._rng.uniform(1.6, 2.7))
        x = self._ahead()
        while abs(x - self._town.corner) < SIDE_HALF + 4.0:
            x = self._ahead()
        return x, y

    def _retry(self, attempt: Callable[[], bool], count: int = 12) -> None:
        """Try up to count random places for something."""
        for _ in range(count):
            if attempt():
                return

    # standing -------------------------------------------------------------

    def _roadworks(self) -> None:
        """An excavator or a loader behind barriers and cones."""
        rng = self._rng

        def attempt() -> bool:
            side = float(rng.choice([-1.0, 1.0]))
            x = self._ahead()
            make = actors.excavator if rng.random() < 0.5 else actors.loader
            machine = standing(x, side * 5.6, float(rng.choice([0, math.pi])))
            if abs(x - self._town.corner) < 16.0:
                return False
            if not self._place((make(rng), machine), margin=0.05):
                return False
            length = int(rng.integers(4, 7))
            for n in range(length):
                place = standing(x - 2.2 * (n - length / 2), side * 3.85)
                self._place((props.barrier(rng), place), margin=0.02)
            for n in range(5):
                place = standing(x - 8.0 - 1.6 * n, side * (4.1 + 0.55 * n))
                self._place((props.traffic_cone(rng), place), margin=0.02)
                place = standing(x + 8.0 + 1.6 * n, side * (4.1 + 0.55 * n))
                self._place((props.traffic_cone(rng), place), margin=0.02)
            for _ in range(2):
                at = standing(
                    x + rng.uniform(5.0, 8.0),
                    side * rng.uniform(4.9, 6.5),
                    rng.uniform(0.0, 6.0),
                )
                self._place((actors.pedestrian(rng, worker=True), at))
            heap = standing(x - 6.0, side * 5.9, rng.uniform(0.0, 6.0))
            self._place((props.debris(rng), heap))
            return True

        self._retry(attempt, 30)

    def _bus_stop(self) -> None:
        """A bus at its stop."""
        rng = self._rng

        def attempt() -> bool:
            side = int(rng.choice([-1, 1]))
            x = self._ahead() + 5.0
            if abs(x - self._town.corner) < 16.0:
                return False
            yaw = 0.0 if side < 0 else math.pi
            at = standing(x, side * 5.65, yaw)
            if not self._place((actors.bus(rng), at), margin=0.05):
                return False
            self._town.shelter(x + 1.5, side)
            return True

        self._retry(attempt)

    def _parked(self) -> None:
        """Cars along the kerbs, and full car parks."""
        rng, corner = self._rng, self._town.corner
        kinds = [actors.car] * 8 + [actors.truck]
        for x in np.arange(-70.0, 110.0, 6.2):
            for side in (-1, 1):
                if abs(x - corner) < 15.0 or rng.random() < 0.35:
                    continue
                yaw = 0.0 if side < 0 else math.pi
                make = _choice(rng, kinds)
                self._place((make(rng), standing(x, side * KERB_LANE, yaw)))
        for y in np.arange(-80.0, 80.0, 6.2):
            for side in (-1, 1):
                if abs(y) < 16.0 or rng.random() < 0.4:
                    continue
                at = standing(corner + side * 4.6, y, side * math.pi / 2)
                self._place((actors.car(rng), at), margin=0.05)
        for lot in self._town.lots:
            self._car_park(lot)
        cycles = (actors.bicycle, actors.motorcycle)
        for n in range(12):
            at = standing(*self._beside(), rng.normal(0, 1))
            self._place((cycles[n % 2](rng, rider=False), at))

    def _car_park(self, lot: Block) -> None:
        """Rows of cars, a trailer and a lorry."""
        rng = self._rng
        front = lot.y0 if lot.centre[1] > 0 else lot.y1
        inward = 1.0 if lot.centre[1] > 0 else -1.0
        x = float(rng.uniform(lot.x0 + 6.0, lot.x1 - 6.0))
        at = standing(x, front + inward * 2.2, 0.0)
        self._place((actors.trailer(rng), at))
        for row in (4.0, 15.0):
            for x in np.arange(lot.x0 + 2.5, lot.x1 - 2.0, 3.0):
                y = front + inward * row
                if rng.random() < 0.3 or not lot.y0 < y < lot.y1:
                    continue
                at = standing(float(x), y, float(rng.choice([-1, 1])) * 1.5708)
                self._place((actors.car(rng), at), margin=0.1)

    def _props(self) -> None:
        """Occ3D's 'others': animals, prams, heaps, containers, racks."""
        rng = self._rng
        makers = list(props.OTHERS) * 2
        for make in makers:

            def attempt(make=make) -> bool:
                at = standing(*self._beside(), rng.uniform(0.0, 6.28))
                return self._place((make(rng), at), margin=0.05)

            self._retry(attempt)
        for square in self._town.squares:
            inner = square.shrunk(3.0)
            for _ in range(8):
                x = rng.uniform(inner.x0, inner.x1)
                y = rng.uniform(inner.y0, inner.y1)
                make = _choice(rng, [*props.OTHERS, actors.pedestrian])
                at = standing(float(x), float(y), rng.uniform(0.0, 6.28))
                self._place((make(rng), at))

    # moving ---------------------------------------------------------------

    def _convoy(self) -> None:
        """Vehicles that drive as the ego vehicle does, before and behind."""
        speed = self.ego.speed
        for offset in (-26.0, -13.0, 15.0, 30.0):
            if self._rng.random() < 0.75:
                drive = Speed(speed.knots, offset)
                motion = Motion(self.ego.path, drive)
                self._place((actors.car(self._rng), motion), margin=0.4)

    def _lane(self, start, v) -> Motion:
        """Driving straight with a gentle change of speed."""
        dv = float(self._rng.uniform(-0.15, 0.2)) * v
        knots = ((1.0, v), (5.0, v + dv), (9.0, v))
        return Motion(Path(start), Speed(knots))

    def _lorries(self) -> None:
        """An articulated lorry in the oncoming lane."""
        rng = self._rng

        def attempt() -> bool:
            x = float(rng.uniform(10.0, 50.0))
            drive = self._lane((x, LANE, math.pi), float(rng.uniform(6, 9)))
            load = actors.trailer(rng)
            behind = 0.6 - load.box[1][0] / 2
            towed = Speed(drive.speed.knots, behind)
            return self._place(
                (actors.truck(rng, tractor=True), drive),
                (load, Motion(drive.path, towed)),
                margin=0.4,
            )

        self._retry(attempt)

    def _lane_traffic(self) -> None:
        """Traffic in the oncoming lane, ahead, and on the side street."""
        rng, corner = self._rng, self._town.corner
        kinds = [actors.car] * 6 + [actors.truck, actors.bus]
        kinds += [actors.motorcycle] * 3
        lanes = [
            [(x, LANE, math.pi) for x in _spread(rng, -60, 150, 17)],
            [(x, -LANE, 0.0) for x in _spread(rng, 0, 110, 19)],
            [
                (corner + LANE, y, math.pi / 2)
                for y in _spread(rng, -90, 60, 24)
            ],
            [
                (corner - LANE, y, -math.pi / 2)
                for y in _spread(rng, -60, 90, 24)
            ],
        ]
        for starts in lanes:
            v = float(rng.uniform(5.5, 10.5))
            first = self._lane((0.0, 0.0, 0.0), v)
            for start in starts:
                motion = Motion(Path(start), first.speed)
                make = _choice(rng, kinds)
                self._place((make(rng), motion), margin=0.4)

    def _cycles(self) -> None:
        """Cyclists and motorcyclists along the edge of the lanes."""
        rng = self._rng
        for n in range(10):
            make = actors.motorcycle if n % 4 == 3 else actors.bicycle
            v = float(rng.uniform(3.0, 6.0))
            x = self._ahead()
            side = 1 if n % 2 else -1
            yaw = 0.0 if side < 0 else math.pi
            motion = self._lane((x, side * CYCLE_LANE, yaw), v)
            self._place((make(rng), motion))

    def _people(self) -> None:
        """Pedestrians on the sidewalks and on the crossings."""
        rng, corner = self._rng, self._town.corner
        for n in range(46):
            side = float(rng.choice([-1.0, 1.0]))
            offset = side * (
                rng.uniform(1.5, SIDEWALK_WIDTH - 0.3) + MAIN_HALF
            )
            heading = float(rng.choice([0.0, math.pi]))
            start = (float(rng.uniform(-60.0, 70.0)), offset, heading)
            if n % 6 == 0:
                self._place((actors.pedestrian(rng), standing(*start)))
                continue
            speed = Speed(((0.0, float(rng.uniform(0.9, 1.7))),))
            walk = Motion(Path(start), speed)
            self._place((actors.pedestrian(rng), walk), margin=0.1)
        for n in range(10):
            x = corner + float(rng.choice([-1, 1])) * rng.uniform(9.0, 11.0)
            side = 1.0 if n % 2 else -1.0
            start = (x, side * rng.uniform(2.0, 11.0), -side * math.pi / 2)
            v = float(rng.uniform(0.9, 1.5))
            knots = ((4.0, v), (9.0, v))
            walk = Motion(Path(start), Speed(knots))
            self._place((actors.pedestrian(rng), walk), margin=0.3)


def _reach(actor: Actor, axis: int) -> float:
    """Half length or half width of the rectangle about an actor's origin."""
    centre, size = actor.box
    return float(abs(centre[axis]) + size[axis] / 2)


def _choice(rng: np.random.Generator, options: list) -> Callable:
    """One of the makers."""
    return options[rng.integers(len(options))]


def _spread(
    rng: np.random.Generator, low: float, high: float, step: float
) -> Iterable[float]:
    """Positions about step apart, with some left out."""
    at = np.arange(low, high, step)
    at = at + rng.uniform(-2.5, 2.5, len(at))
    return [float(x) for x in at if rng.random() < 0.8]
