"""Vehicles and people, and the kit from which actors are built.

An actor is built in its own frame: x forward, y left, z up from the global
zero, origin at the middle of its footprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import primitives as pr
from .classes import CATEGORIES
from .ground import GROUND_Z

RUBBER = (0.02, 0.02, 0.022)
DARK = (0.035, 0.035, 0.04)
STEEL = (0.35, 0.36, 0.38)
WHITE = (0.72, 0.72, 0.7)

PAINTS = (
    (0.75, 0.75, 0.76),
    (0.42, 0.44, 0.46),
    (0.045, 0.047, 0.05),
    (0.5, 0.03, 0.03),
    (0.03, 0.1, 0.38),
    (0.02, 0.2, 0.14),
    (0.58, 0.38, 0.05),
    (0.33, 0.28, 0.2),
    (0.12, 0.3, 0.42),
)
CLOTHES = PAINTS + ((0.6, 0.25, 0.35), (0.25, 0.1, 0.35), (0.1, 0.3, 0.08))
SKIN = ((0.6, 0.4, 0.3), (0.35, 0.2, 0.13), (0.15, 0.08, 0.05))


@dataclass(frozen=True)
class Actor:
    """A rigid object.

    Attributes:
        category: nuScenes category name.
        parts: its solids in its own frame, shape (n,), dtype PRIMITIVE.
        rider: whether a cycle carries one.
    """

    category: str
    parts: np.ndarray
    rider: bool = False

    @cached_property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """The box around all parts: centre (3,) and (l, w, h) (3,)."""
        low, high = pr.bounds(self.parts)
        return (low + high) / 2, high - low


class Kit:
    """Collects the parts of one actor; z counts from the ground."""

    def __init__(self, category: str) -> None:
        self.category = category
        self._index = CATEGORIES.index(category)
        self._parts: list[np.ndarray] = []

    def actor(self, rider: bool = False) -> Actor:
        """The finished actor."""
        return Actor(self.category, np.concatenate(self._parts), rider)

    def _add(self, kind, centre, half, colour, material, slopes=(0, 0, 0)):
        x, y, z = centre
        centre = (x, y, z + GROUND_Z)
        self._parts.append(
            pr.primitive(
                kind, centre, half, self._index, colour, material, 0.0, slopes
            )
        )

    def box(self, x, y, z, size, colour, material=pr.PLAIN, slopes=(0, 0, 0)):
        """A box of size (l, w, h) standing at height z."""
        length, width, height = size
        half = (length / 2, width / 2, height / 2)
        self._add(pr.BOX, (x, y, z + half[2]), half, colour, material, slopes)

    def beam(self, x0, z0, x1, z1, thick, width, colour, y=0.0):
        """A slanted beam from (x0, z0) to (x1, z1) in the plane y."""
        if z1 < z0:
            x0, z0, x1, z1 = x1, z1, x0, z0
        k = (x1 - x0) / (z1 - z0)
        half = (thick / 2, width / 2, (z1 - z0) / 2)
        self._add(
            pr.BOX,
            (x0, y, (z0 + z1) / 2),
            half,
            colour,
            pr.PLAIN,
            (-k, k, 0.0),
        )

    def ball(self, x, y, z, half, colour, material=pr.PLAIN):
        """An ellipsoid of semi-axes half with its centre at height z."""
        self._add(pr.ELLIPSOID, (x, y, z), half, colour, material)

    def cone(self, x, y, z, low, high, height, colour, material=pr.PLAIN):
        """A truncated cone of radii low and high standing at height z."""
        half = (low, high, height / 2)
        self._add(pr.CONE, (x, y, z + height / 2), half, colour, material)

    def wheel(self, x, y, radius, width, lift=0.0):
        """A wheel that stands at height lift."""
        half = (radius, width / 2, radius)
        self._add(pr.WHEEL, (x, y, radius + lift), half, RUBBER, pr.TYRE)

    def wheels(self, xs, track, radius, width):
        """Pairs of wheels at each of xs."""
        for x in xs:
            self.wheel(x, track, radius, width)
            self.wheel(x, -track, radius, width)


def pick(rng: np.random.Generator, options: tuple):
    """One of the options."""
    return options[rng.integers(len(options))]


def car(rng: np.random.Generator) -> Actor:
    """A saloon, an estate, an off-roader or a van."""
    kit = Kit('vehicle.car')
    paint = pick(rng, PAINTS)
    length, height, cabin, shift, back = pick(
        rng,
        (
            (4.6, 1.46, 0.56, -0.25, 0.75),
            (4.3, 1.5, 0.64, -0.45, 0.3),
            (4.7, 1.75, 0.66, -0.5, 0.25),
            (4.9, 1.95, 0.74, -0.45, 0.1),
        ),
    )
    width = rng.uniform(1.8, 1.92)
    belt = 0.52 * height + 0.1
    kit.box(
        0,
        0,
        0.2,
        (length, width, belt - 0.2),
        paint,
        pr.BODY,
        (0.22, 0.12, 0.06),
    )
    kit.box(
        shift,
        0,
        belt - 0.02,
        (cabin * length, width - 0.12, height - belt + 0.02),
        paint,
        pr.CABIN,
        (0.95, back, 0.24),
    )
    kit.wheels((0.31 * length, -0.3 * length), width / 2 - 0.1, 0.33, 0.22)
    for side in (-1, 1):
        kit.box(
            0.17 * length,
            side * (width / 2 + 0.04),
            belt,
            (0.12, 0.18, 0.12),
            paint,
        )
    return kit.actor()


def _cab(kit, x, paint, height):
    """A lorry's cab whose front is at x."""
    kit.box(x - 0.95, 0, 0.45, (1.9, 2.3, 1.05), paint, pr.BODY)
    kit.box(
        x - 0.95,
        0,
        1.5,
        (1.9, 2.3, height - 1.5),
        paint,
        pr.CABIN,
        (0.16, 0, 0.05),
    )


def truck(rng: np.random.Generator, tractor: bool = False) -> Actor:
    """A lorry with a box or a tipper, or the tractor of a trailer."""
    kit = Kit('vehicle.truck')
    paint = pick(rng, PAINTS)
    length = 5.6 if tractor else rng.uniform(6.8, 8.4)
    front = length / 2
    _cab(kit, front, paint, 2.7)
    kit.box(-0.15, 0, 0.55, (length - 0.3, 0.9, 0.35), DARK)
    load = length - 2.1
    if tractor:
        kit.box(-1.0, 0, 0.9, (load - 0.4, 1.0, 0.2), STEEL)
    elif rng.random() < 0.6:
        colour = pick(rng, (WHITE, (0.6, 0.55, 0.4), paint))
        size = (load, 2.45, rng.uniform(2.2, 2.6))
        kit.box(-front + load / 2, 0, 0.9, size, colour, pr.CARGO)
    else:
        kit.box(
            -front + load / 2,
            0,
            0.9,
            (load, 2.0, 1.3),
            (0.55, 0.28, 0.03),
            pr.PLAIN,
            (-0.1, -0.2, -0.16),
        )
    kit.wheels((front - 1.0, -front + 1.0), 1.02, 0.46, 0.34)
    return kit.actor()


def trailer(rng: np.random.Generator) -> Actor:
    """A semi-trailer; its king pin is under its front."""
    kit = Kit('vehicle.trailer')
    length = rng.uniform(8.0, 9.5)
    colour = pick(rng, (WHITE, (0.1, 0.25, 0.45), (0.5, 0.12, 0.08)))
    kit.box(0, 0, 1.15, (length, 2.5, 2.45), colour, pr.CARGO)
    kit.box(-0.6, 0, 0.8, (length - 1.6, 1.1, 0.35), DARK)
    kit.wheels((-length / 2 + 1.0, -length / 2 + 2.1), 1.02, 0.46, 0.34)
    for side in (-1, 1):
        kit.box(length / 2 - 1.9, side * 0.5, 0, (0.15, 0.15, 0.9), STEEL)
    return kit.actor()


def bus(rng: np.random.Generator) -> Actor:
    """A city bus."""
    kit = Kit('vehicle.bus.rigid')
    length = rng.uniform(10.5, 12.0)
    paint = pick(rng, ((0.6, 0.06, 0.04), (0.05, 0.25, 0.5), (0.1, 0.4, 0.15)))
    kit.box(0, 0, 0.35, (length, 2.55, 2.7), paint, pr.COACH)
    kit.box(-0.5, 0, 3.05, (2.8, 1.7, 0.22), WHITE)
    kit.wheels((length / 2 - 2.6, -length / 2 + 2.9), 1.08, 0.48, 0.3)
    return kit.actor()


def excavator(rng: np.random.Generator) -> Actor:
    """A crawler excavator with its boom raised."""
    kit = Kit('vehicle.construction')
    yellow = (0.72, rng.uniform(0.36, 0.48), 0.02)
    for side in (-1, 1):
        kit.box(
            0, side * 1.0, 0, (3.8, 0.6, 0.85), DARK, pr.PLAIN, (0.3, 0.3, 0)
        )
    kit.cone(0, 0, 0.8, 0.8, 0.8, 0.25, DARK)
    kit.box(-0.4, 0, 1.0, (3.2, 2.5, 1.0), yellow)
    kit.box(-1.5, 0, 2.0, (0.9, 2.2, 0.35), yellow)
    kit.box(
        0.55, 0.65, 1.95, (1.3, 1.1, 1.05), yellow, pr.CABIN, (0.2, 0, 0.05)
    )
    reach = rng.uniform(0.0, 0.5)
    kit.beam(0.9, 1.5, 2.9 + reach, 4.2, 0.7, 0.45, yellow, y=-0.4)
    kit.beam(2.9 + reach, 4.2, 4.0 + reach, 1.2, 0.45, 0.4, yellow, y=-0.4)
    kit.box(
        3.8 + reach,
        -0.4,
        0.45,
        (0.9, 1.1, 0.8),
        STEEL,
        pr.PLAIN,
        (0, 0.5, 0),
    )
    return kit.actor()


def loader(rng: np.random.Generator) -> Actor:
    """A wheel loader."""
    kit = Kit('vehicle.construction')
    yellow = (0.75, rng.uniform(0.33, 0.45), 0.02)
    kit.box(-1.2, 0, 0.7, (2.8, 1.7, 1.1), yellow)
    kit.box(1.0, 0, 0.7, (1.8, 1.2, 0.7), yellow)
    kit.box(0.1, 0, 1.6, (1.4, 1.4, 1.5), yellow, pr.CABIN, (0.15, 0.05, 0.05))
    for side in (-1, 1):
        kit.beam(0.7, 1.7, 2.6, 0.7, 0.3, 0.25, yellow, y=side * 0.6)
    kit.box(2.9, 0, 0.15, (0.9, 2.6, 0.95), STEEL, pr.PLAIN, (-0.3, 0.3, 0))
    kit.wheels((1.3, -1.4), 1.05, 0.7, 0.5)
    return kit.actor()


def _rider(kit, rng, x, seat):
    """Someone on a saddle at height seat."""
    shirt, trousers = pick(rng, CLOTHES), pick(rng, PAINTS)
    kit.ball(x + 0.05, 0, seat + 0.36, (0.22, 0.26, 0.38), shirt)
    kit.ball(x + 0.16, 0, seat + 0.86, (0.14, 0.12, 0.16), pick(rng, PAINTS))
    kit.ball(x + 0.21, 0, seat + 0.83, (0.11, 0.1, 0.13), pick(rng, SKIN))
    for side in (-1, 1):
        kit.beam(
            x + 0.1,
            seat - 0.5,
            x + 0.1,
            seat + 0.05,
            0.2,
            0.16,
            trousers,
            y=side * 0.16,
        )
        kit.beam(
            x + 0.2,
            seat + 0.5,
            x + 0.55,
            seat + 0.3,
            0.12,
            0.1,
            shirt,
            y=side * 0.24,
        )


def bicycle(rng: np.random.Generator, rider: bool = True) -> Actor:
    """A bicycle, with or without someone on it."""
    kit = Kit('vehicle.bicycle')
    paint = pick(rng, PAINTS)
    for x in (-0.52, 0.52):
        kit.wheel(x, 0, 0.34, 0.1)
    kit.beam(-0.5, 0.34, -0.2, 0.8, 0.12, 0.12, paint)
    kit.beam(0.1, 0.3, -0.25, 0.85, 0.12, 0.12, paint)
    kit.beam(0.05, 0.3, 0.42, 0.8, 0.12, 0.12, paint)
    kit.box(0.1, 0, 0.7, (0.7, 0.14, 0.12), paint)
    kit.beam(0.5, 0.34, 0.4, 1.0, 0.1, 0.1, STEEL)
    kit.box(0.4, 0, 0.98, (0.12, 0.56, 0.08), DARK)
    kit.box(-0.28, 0, 0.85, (0.26, 0.18, 0.1), DARK)
    if rider:
        _rider(kit, rng, -0.25, 0.92)
    return kit.actor(rider)


def motorcycle(rng: np.random.Generator, rider: bool = True) -> Actor:
    """A motorcycle, with or without someone on it."""
    kit = Kit('vehicle.motorcycle')
    paint = pick(rng, PAINTS)
    for x in (-0.72, 0.72):
        kit.wheel(x, 0, 0.33, 0.2)
    kit.box(0.0, 0, 0.28, (0.8, 0.44, 0.35), DARK)
    kit.ball(0.2, 0, 0.8, (0.4, 0.24, 0.22), paint)
    kit.ball(-0.5, 0, 0.74, (0.5, 0.2, 0.14), paint)
    kit.beam(0.72, 0.33, 0.45, 1.0, 0.14, 0.2, STEEL)
    kit.box(0.45, 0, 0.98, (0.12, 0.78, 0.08), DARK)
    kit.ball(0.62, 0, 0.88, (0.16, 0.18, 0.18), paint)
    if rider:
        _rider(kit, rng, -0.25, 0.85)
    return kit.actor(rider)


def pedestrian(rng: np.random.Generator, worker: bool = False) -> Actor:
    """An adult, a child or a construction worker."""
    child = not worker and rng.random() < 0.15
    kind = 'construction_worker' if worker else 'child' if child else 'adult'
    kit = Kit(f'human.pedestrian.{kind}')
    h = rng.uniform(1.1, 1.35) if child else rng.uniform(1.6, 1.88)
    shirt = (0.75, 0.3, 0.02) if worker else pick(rng, CLOTHES)
    trousers, skin = pick(rng, PAINTS), pick(rng, SKIN)
    stride = rng.uniform(0.04, 0.16) * h
    for side in (-1, 1):
        kit.beam(
            side * stride,
            0,
            0,
            0.5 * h,
            0.11 * h,
            0.11 * h,
            trousers,
            y=side * 0.065 * h,
        )
        kit.beam(
            -side * stride,
            0.42 * h,
            0,
            0.78 * h,
            0.06 * h,
            0.06 * h,
            shirt,
            y=side * 0.165 * h,
        )
    kit.cone(0, 0, 0.46 * h, 0.125 * h, 0.145 * h, 0.33 * h, shirt)
    kit.ball(0, 0, 0.79 * h, (0.11 * h, 0.145 * h, 0.06 * h), shirt)
    kit.ball(0, 0, 0.92 * h, (0.07 * h, 0.06 * h, 0.08 * h), skin)
    hair = (0.8, 0.7, 0.05) if worker else pick(rng, (DARK, SKIN[2], SKIN[1]))
    kit.ball(-0.01 * h, 0, 0.95 * h, (0.075 * h, 0.066 * h, 0.07 * h), hair)
    return kit.actor()
