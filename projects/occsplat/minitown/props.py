"""Things that stand about: barriers, cones, and Occ3D's 'others'."""

from __future__ import annotations

import numpy as np

from . import primitives as pr
from .actors import CLOTHES, DARK, RUBBER, STEEL, WHITE, Actor, Kit, pick


def barrier(rng: np.random.Generator) -> Actor:
    """A jersey barrier, striped or plain; its length runs along x."""
    kit = Kit('movable_object.barrier')
    striped = rng.random() < 0.6
    colour = WHITE if striped else (0.45, 0.44, 0.41)
    material = pr.STRIPES if striped else pr.PLAIN
    kit.box(0, 0, 0, (2.0, 0.66, 0.25), colour, material)
    kit.box(0, 0, 0.25, (2.0, 0.62, 0.75), colour, material, (0, 0, 0.18))
    return kit.actor()


def traffic_cone(rng: np.random.Generator) -> Actor:
    """A traffic cone."""
    kit = Kit('movable_object.trafficcone')
    orange = (0.8, rng.uniform(0.1, 0.18), 0.01)
    kit.box(0, 0, 0, (0.52, 0.52, 0.07), DARK)
    kit.cone(0, 0, 0.06, 0.25, 0.07, 0.84, orange, pr.BANDS)
    return kit.actor()


def dog(rng: np.random.Generator) -> Actor:
    """A sitting dog."""
    kit = Kit('animal')
    fur = pick(rng, ((0.3, 0.17, 0.07), (0.05, 0.04, 0.04), (0.5, 0.4, 0.3)))
    kit.ball(-0.05, 0, 0.42, (0.4, 0.22, 0.24), fur)
    kit.ball(0.42, 0, 0.66, (0.17, 0.13, 0.15), fur)
    kit.ball(0.58, 0, 0.62, (0.1, 0.07, 0.07), DARK)
    for x in (-0.28, 0.24):
        for y in (-0.12, 0.12):
            kit.cone(x, y, 0, 0.06, 0.07, 0.36, fur)
    kit.beam(-0.4, 0.5, -0.62, 0.78, 0.08, 0.08, fur)
    return kit.actor()


def stroller(rng: np.random.Generator) -> Actor:
    """A pram without anyone pushing it."""
    kit = Kit('human.pedestrian.stroller')
    cloth = pick(rng, CLOTHES)
    kit.box(0, 0, 0.45, (0.8, 0.5, 0.35), cloth, pr.PLAIN, (-0.15, -0.1, 0))
    kit.ball(-0.15, 0, 0.82, (0.32, 0.27, 0.26), cloth)
    kit.box(0, 0, 0.3, (0.7, 0.4, 0.16), DARK)
    kit.wheels((-0.32, 0.32), 0.24, 0.17, 0.08)
    kit.beam(-0.4, 0.7, -0.7, 1.02, 0.07, 0.5, STEEL)
    return kit.actor()


def debris(rng: np.random.Generator) -> Actor:
    """A heap of boxes, planks and tyres."""
    kit = Kit('movable_object.debris')
    card, wood = (0.42, 0.28, 0.15), (0.3, 0.2, 0.1)
    kit.box(0, 0.1, 0, (0.9, 0.7, 0.55), card)
    kit.box(-0.6, -0.2, 0, (0.55, 0.6, 0.4), (0.5, 0.35, 0.2))
    kit.box(0.1, 0.1, 0.55, (0.5, 0.45, rng.uniform(0.2, 0.4)), card)
    kit.beam(0.5, 0, 1.0, 0.7, 0.15, 0.5, wood)
    kit.cone(0.55, -0.55, 0, 0.34, 0.34, 0.24, RUBBER)
    kit.cone(0.6, -0.5, 0.24, 0.34, 0.34, 0.24, RUBBER)
    return kit.actor()


def bin_on_wheels(rng: np.random.Generator) -> Actor:
    """A waste container."""
    kit = Kit('movable_object.pushable_pullable')
    paint = pick(rng, ((0.03, 0.2, 0.06), (0.04, 0.08, 0.3), DARK))
    kit.box(0, 0, 0.14, (0.9, 0.66, 0.9), paint, pr.PLAIN, (-0.08, -0.05, 0))
    kit.box(0, 0, 1.04, (1.05, 0.72, 0.12), paint)
    kit.wheels((-0.32, 0.32), 0.26, 0.09, 0.08)
    return kit.actor()


def bicycle_rack(rng: np.random.Generator) -> Actor:
    """Hoops to which bicycles are locked."""
    kit = Kit('static_object.bicycle_rack')
    for i in range(int(rng.integers(3, 6))):
        kit.box(0.8 * i, 0, 0.75, (0.16, 0.9, 0.14), STEEL)
        for y in (-0.38, 0.38):
            kit.box(0.8 * i, y, 0, (0.16, 0.14, 0.75), STEEL)
    return kit.actor()


#: actors of Occ3D's class 'others'; all of them stand still
OTHERS = (dog, stroller, debris, bin_on_wheels, bicycle_rack)
