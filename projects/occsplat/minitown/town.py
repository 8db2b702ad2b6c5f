"""The town without its traffic: streets, buildings, greenery, furniture.

All in town axes: the main street runs along x at y = 0, side streets along
y, and the ego vehicle starts on the main street heading to +x.
"""

from __future__ import annotations

import math

import numpy as np

from . import primitives as pr
from .classes import MANMADE, OTHER_FLAT, TERRAIN, VEGETATION
from .ground import (
    BLOCK,
    GROUND_BOTTOM,
    GROUND_Z,
    SIDEWALK_WIDTH,
    STREET,
    Ground,
)
from .motion import standing
from .space import Block, Space

MAIN_HALF = 7.0
SIDE_HALF = 5.6

WALLS = (
    (0.34, 0.13, 0.085),
    (0.52, 0.42, 0.3),
    (0.36, 0.36, 0.35),
    (0.62, 0.59, 0.53),
    (0.5, 0.3, 0.12),
    (0.2, 0.24, 0.28),
    (0.3, 0.36, 0.3),
    (0.5, 0.26, 0.2),
)
ROOFS = ((0.3, 0.1, 0.06), (0.16, 0.15, 0.15), (0.25, 0.16, 0.1))
LEAVES = ((0.06, 0.16, 0.025), (0.1, 0.2, 0.03), (0.045, 0.12, 0.04))
AUTUMN = ((0.4, 0.2, 0.03), (0.35, 0.09, 0.03))
BARK = (0.12, 0.08, 0.05)
METAL = (0.16, 0.17, 0.18)
CONCRETE = (0.4, 0.39, 0.37)


class Town:
    """Builds the scenery of one scene.

    Attributes:
        ground: the plan.
        corner: x of the side street where the ego vehicle may turn.
        lots: car parks, to be filled with parked vehicles.
        squares: open squares, to be filled with people and props.
        space: what is taken.
    """

    def __init__(self, rng: np.random.Generator, space: Space) -> None:
        self.space = space
        self.corner = float(rng.uniform(8.0, 16.0))
        self.lots: list[Block] = []
        self.squares: list[Block] = []
        self._rng = rng
        self._parts: list[np.ndarray] = []
        leaves = LEAVES + (AUTUMN if rng.random() < 0.3 else ())
        self._leaves = leaves
        gaps = rng.uniform(58.0, 74.0, 6)
        xs = self.corner + np.concatenate(
            [-np.cumsum(gaps[:2])[::-1], [0.0], np.cumsum(gaps[2:5])]
        )
        ys = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) * gaps[5]
        self.ground = Ground(
            np.array([0.0, 0.0, 1.0, 0.0]),
            _streets(xs, SIDE_HALF),
            _streets(ys, SIDE_HALF, main=2),
            np.zeros((len(xs) + 1, len(ys) + 1), BLOCK),
        )
        self.ground.blocks['category'] = TERRAIN
        self._fill_blocks()

    @property
    def parts(self) -> np.ndarray:
        """All solids of the scenery, dtype PRIMITIVE."""
        return np.concatenate(self._parts)

    # plan -----------------------------------------------------------------

    def _fill_blocks(self) -> None:
        """Give every closed block a purpose, the nearest ones all kinds."""
        xs, ys = self.ground.streets_x, self.ground.streets_y
        indices = [
            (i, j) for i in range(1, len(xs)) for j in range(1, len(ys))
        ]

        def block_of(i, j):
            edge = SIDEWALK_WIDTH
            return Block(
                xs[i - 1]['at'] + xs[i - 1]['half'] + edge,
                ys[j - 1]['at'] + ys[j - 1]['half'] + edge,
                xs[i]['at'] - xs[i]['half'] - edge,
                ys[j]['at'] - ys[j]['half'] - edge,
            )

        def distance(index):
            x, y = block_of(*index).centre
            return math.hypot(x - 15.0, y)

        indices.sort(key=distance)
        first = [self._city, self._lot, self._houses, self._park]
        self._rng.shuffle(first)
        kinds = [*first, self._city, self._square]
        more = [self._city, self._houses, self._park, self._city]
        for n, index in enumerate(indices):
            if n < len(kinds):
                kind = kinds[n]
            else:
                kind = more[self._rng.integers(len(more))]
            block = block_of(*index)
            kind(block, self.ground.blocks[index])
            self._furnish(block)

    def _patch(self, record, block: Block, category: int) -> None:
        """Pave a rectangle of a block with another class."""
        record['patch'] = category
        record['x0'], record['y0'] = block.x0, block.y0
        record['x1'], record['y1'] = block.x1, block.y1

    # solids ---------------------------------------------------------------

    def _add(self, kind, centre, half, category, colour, material, **extra):
        self._parts.append(
            pr.primitive(
                kind, centre, half, category, colour, material, **extra
            )
        )

    def _box(self, x, y, z, size, colour, material=pr.PLAIN, **extra):
        """A box (lx, ly, height) that stands at z above the ground."""
        category = extra.pop('category', MANMADE)
        half = tuple(v / 2 for v in size)
        centre = (x, y, GROUND_Z + z + half[2])
        self._add(pr.BOX, centre, half, category, colour, material, **extra)

    def _pole(self, x, y, height, low=0.22, high=0.16, colour=METAL):
        """A round post."""
        centre = (x, y, GROUND_Z + height / 2)
        half = (low, high, height / 2)
        self._add(pr.CONE, centre, half, MANMADE, colour, pr.PLAIN)

    def _pick(self, options):
        return options[self._rng.integers(len(options))]

    def _building(self, x, y, lx, ly) -> None:
        """A town house with shops, a cornice and something on its roof."""
        rng = self._rng
        height = float(rng.uniform(7.0, 21.0))
        colour = self._pick(WALLS)
        material = pr.GLASS if rng.random() < 0.18 else pr.FACADE
        self._box(x, y, 0, (lx, ly, height), colour, material)
        trim = tuple(min(0.8, 1.25 * v) for v in colour)
        self._box(x, y, height, (lx + 0.3, ly + 0.3, 0.45), trim)
        if rng.random() < 0.6:
            off = rng.uniform(-0.2, 0.2, 2)
            size = (0.3 * lx, 0.3 * ly, 2.2)
            place = (x + off[0] * lx, y + off[1] * ly)
            self._box(*place, height + 0.45, size, METAL)

    def _city(self, block: Block, record) -> None:
        """Rows of buildings along all four sides."""
        rng, depth = self._rng, 11.0
        for y in (block.y0 + depth / 2, block.y1 - depth / 2):
            for low, high in self._cuts(block.x0, block.x1, 9.0, 17.0):
                inset = float(rng.choice([0.0, 0.0, 0.6]))
                mid = (low + high) / 2
                self._building(mid, y, high - low - 0.02, depth - 2 * inset)
        for x in (block.x0 + depth / 2, block.x1 - depth / 2):
            ends = (block.y0 + depth + 0.5, block.y1 - depth - 0.5)
            for low, high in self._cuts(*ends, 9.0, 16.0):
                mid = (low + high) / 2
                self._building(x, mid, depth, high - low - 0.02)

    def _cuts(self, low, high, shortest, longest):
        """Cut a stretch into random pieces."""
        count = max(1, round((high - low) / ((shortest + longest) / 2)))
        weights = self._rng.uniform(0.75, 1.25, count)
        edges = low + (high - low) * np.cumsum(weights) / weights.sum()
        return list(zip([low, *edges[:-1]], edges))

    def _houses(self, block: Block, record) -> None:
        """Gardens with gabled houses, hedges and trees."""
        rng = self._rng
        for front, inward in ((block.y0, 1), (block.y1, -1)):
            for low, high in self._cuts(block.x0, block.x1, 13.0, 18.0):
                x, y = (low + high) / 2, front + inward * 9.0
                lx, ly = rng.uniform(7.5, 10.0), 8.0
                height = float(rng.choice([3.0, 3.4, 5.6]))
                colour = self._pick(WALLS)
                self._box(x, y, 0, (lx, ly, height), colour, pr.FACADE)
                rise = float(rng.uniform(2.2, 3.2))
                half = (ly + 0.8) / 2
                self._box(
                    x,
                    y,
                    height,
                    (lx + 0.6, ly + 0.8, rise),
                    self._pick(ROOFS),
                    pr.ROOF,
                    slopes=(0.0, 0.0, half / rise),
                )
                self._box(
                    x + 0.25 * lx, y + 1.0, height, (0.9, 0.9, rise), WALLS[0]
                )
                self._hedge(low + 0.5, x - 1.2, front + inward * 0.6)
                self._hedge(x + 1.2, high - 0.5, front + inward * 0.6)
                side = float(rng.choice([-0.45, 0.45])) * (high - low)
                self._tree(x + side, front + inward * rng.uniform(3.0, 6.0))

    def _hedge(self, low, high, y) -> None:
        """A clipped hedge along x."""
        self._box(
            (low + high) / 2,
            y,
            0,
            (high - low, 0.8, float(self._rng.uniform(0.9, 1.4))),
            self._leaves[0],
            pr.FOLIAGE,
            category=VEGETATION,
        )

    def _park(self, block: Block, record) -> None:
        """Lawn with trees, bushes and benches around a paved square."""
        rng = self._rng
        x, y = block.centre
        paved = Block(x - 9.0, y - 6.0, x + 9.0, y + 6.0)
        self._patch(record, paved, OTHER_FLAT)
        self._box(x, y, 0, (3.6, 3.6, 0.6), CONCRETE)
        self._pole(x, y, 2.4, 0.5, 0.25, CONCRETE)
        for side in (-1, 1):
            bench = (x + side * 5.0, y + 5.0)
            self._box(*bench, 0.1, (2.0, 0.6, 0.45), BARK)
        inner = block.shrunk(1.5)
        for n in range(34):
            px = float(rng.uniform(inner.x0, inner.x1))
            py = float(rng.uniform(inner.y0, inner.y1))
            if paved.x0 < px < paved.x1 and paved.y0 < py < paved.y1:
                continue
            if n % 3:
                self._tree(px, py)
            else:
                self._bush(px, py)

    def _lot(self, block: Block, record) -> None:
        """A car park behind a low wall, and a row of buildings."""
        middle = block.centre[1]
        near_main = 1.0 if middle < 0 else -1.0
        wall_y = block.y0 + 0.3 if near_main > 0 else block.y1 - 0.3
        width = block.x1 - block.x0
        back = wall_y + near_main * 6.0
        for low, high in self._cuts(block.x0, block.x1, 10.0, 18.0):
            self._building((low + high) / 2, back, high - low - 0.02, 11.0)
        depth = block.y1 - block.y0 - 13.0
        y = wall_y + near_main * (12.5 + depth / 2)
        lot = Block(
            block.x0 + 1.0, y - depth / 2, block.x1 - 1.0, y + depth / 2
        )
        self._patch(record, lot, OTHER_FLAT)
        self.lots.append(lot)
        for side in (-1, 1):
            x = block.centre[0] + side * (width / 2 - 0.25)
            self._box(x, y, 0, (0.5, depth - 4.0, 1.0), CONCRETE)

    def _square(self, block: Block, record) -> None:
        """A paved square with planters and a kiosk."""
        rng = self._rng
        self._patch(record, block, OTHER_FLAT)
        self.squares.append(block)
        for x in np.arange(block.x0 + 5.0, block.x1 - 4.0, 9.0):
            for y in np.arange(block.y0 + 5.0, block.y1 - 4.0, 9.0):
                draw = rng.random()
                if not self.space.claim([(standing(x, y), (1.3, 1.3))]):
                    continue
                if draw < 0.6:
                    self._box(x, y, 0, (2.4, 2.4, 0.55), CONCRETE)
                    self._tree(x, y)
                elif draw < 0.75:
                    self._box(x, y, 0, (2.6, 2.6, 2.6), self._pick(WALLS))
                    self._box(x, y, 2.6, (3.4, 3.4, 0.25), self._pick(ROOFS))
                else:
                    self._box(x, y, 0.1, (2.0, 0.6, 0.45), BARK)

    def _tree(self, x, y) -> None:
        """A broad-leaved tree, or now and then a conifer."""
        rng = self._rng
        size = float(rng.uniform(0.8, 1.25))
        leaves = self._pick(self._leaves)
        trunk = (0.28 * size, 0.2 * size, 1.3 * size)
        centre = (x, y, GROUND_Z + 1.3 * size)
        self._add(pr.CONE, centre, trunk, VEGETATION, BARK, pr.PLAIN)
        if rng.random() < 0.2:
            for level in range(3):
                half = ((1.7 - 0.4 * level) * size, 0.1, 1.1 * size)
                z = GROUND_Z + (2.0 + 1.3 * level) * size
                self._add(
                    pr.CONE, (x, y, z), half, VEGETATION, LEAVES[2], pr.FOLIAGE
                )
            return
        for n in range(4):
            angle = 2.1 * n + rng.uniform(0.0, 1.0)
            off = 0.75 * size if n else 0.0
            wide = float(rng.uniform(1.0, 1.45)) * size
            z = GROUND_Z + (3.5 + (0.6 if n == 0 else 0.0)) * size
            place = (x + off * math.cos(angle), y + off * math.sin(angle), z)
            half = (wide, wide, float(rng.uniform(0.9, 1.2)) * size)
            self._add(
                pr.ELLIPSOID, place, half, VEGETATION, leaves, pr.FOLIAGE
            )

    def _bush(self, x, y) -> None:
        """A bush."""
        wide = float(self._rng.uniform(0.6, 1.1))
        half = (wide, wide, 0.8 * wide)
        centre = (x, y, GROUND_Z + 0.5 * wide)
        colour = self._pick(self._leaves)
        self._add(pr.ELLIPSOID, centre, half, VEGETATION, colour, pr.FOLIAGE)

    # street furniture -----------------------------------------------------

    def _furnish(self, block: Block) -> None:
        """Trees, lamps and signs along the kerbs, lights at the corners."""
        edge = block.shrunk(-SIDEWALK_WIDTH + 0.8)
        for sx, x in ((-1, edge.x0), (1, edge.x1)):
            for sy, y in ((-1, edge.y0), (1, edge.y1)):
                self._traffic_light(x - 6.0 * sx, y, -sy)
        for y, road in ((edge.y0, -1), (edge.y1, 1)):
            for n, x in enumerate(np.arange(edge.x0 + 9, edge.x1 - 8, 8.0)):
                self._item(n, float(x), y, 0.0, road)
        for x, road in ((edge.x0, -1), (edge.x1, 1)):
            for n, y in enumerate(np.arange(edge.y0 + 9, edge.y1 - 8, 8.0)):
                self._item(n, x, float(y), road, 0.0)

    def _item(self, n, x, y, dx, dy) -> None:
        """One piece of furniture; (dx, dy) points to the road."""
        draw = self._rng.random()
        if not self.space.claim([(standing(x, y), (0.35, 0.35))], 0.05):
            return
        if n % 3 == 1:
            self._lamp(x, y, dx, dy)
        elif draw < 0.55:
            self._tree(x, y)
        elif draw < 0.75:
            self._sign(x, y, dx, dy)
        elif draw < 0.9:
            self._pole(x, y, 1.0, 0.3, 0.3, (0.05, 0.16, 0.08))
        else:
            self._pole(x, y, 0.8, 0.22, 0.22, (0.55, 0.05, 0.03))

    def _lamp(self, x, y, dx, dy) -> None:
        """A street lamp that leans over the road."""
        self._pole(x, y, 6.4)
        arm = (0.16 + 1.6 * abs(dx), 0.16 + 1.6 * abs(dy), 0.14)
        self._box(x + 0.8 * dx, y + 0.8 * dy, 6.3, arm, METAL)
        head = (0.4 + 0.3 * abs(dx), 0.4 + 0.3 * abs(dy), 0.16)
        self._box(x + 1.6 * dx, y + 1.6 * dy, 6.2, head, (0.8, 0.78, 0.65))

    def _sign(self, x, y, dx, dy) -> None:
        """A traffic sign that faces along the road."""
        self._pole(x, y, 2.2, 0.18, 0.14)
        colour = self._pick(((0.6, 0.03, 0.03), (0.03, 0.12, 0.5)))
        plate = (0.18 + 0.6 * abs(dx), 0.18 + 0.6 * abs(dy), 0.75)
        self._box(x, y, 2.1, plate, colour)

    def _traffic_light(self, x, y, road) -> None:
        """A traffic light beside a crossing."""
        if self.space.claim([(standing(x, y), (0.3, 0.3))], 0.05):
            self._pole(x, y, 3.4, 0.18, 0.14)
            self._box(x, y, 3.2, (0.36, 0.36, 1.0), (0.02, 0.02, 0.02))
            lit = self._rng.integers(3)
            for n, colour in enumerate(
                ((0.02, 0.5, 0.1), (0.6, 0.35, 0.02), (0.7, 0.02, 0.02))
            ):
                dim = 1.0 if n == lit else 0.12
                shade = tuple(dim * v for v in colour)
                size = (0.42, 0.22, 0.2)
                self._box(x, y, 3.3 + 0.28 * n, size, shade)

    def island(self, x: float) -> None:
        """A refuge in the middle of the main street, if there is room."""
        if self.space.claim([(standing(x, 0.0), (2.6, 0.55))], 0.05):
            height = GROUND_Z - GROUND_BOTTOM + 0.15
            bottom = GROUND_BOTTOM - GROUND_Z
            self._box(
                x,
                0.0,
                bottom,
                (5.2, 1.1, height),
                (0.42, 0.36, 0.3),
                category=OTHER_FLAT,
            )
            self._pole(x + 1.9, 0.0, 1.3, 0.2, 0.2, (0.6, 0.6, 0.58))

    def shelter(self, x: float, side: int) -> None:
        """A bus shelter on the sidewalk of the main street."""
        y = side * (MAIN_HALF + 2.5)
        if self.space.claim([(standing(x, y), (2.2, 0.7))], 0.05):
            glass = (0.3, 0.4, 0.45)
            self._box(x, y + side * 0.5, 0, (4.2, 0.22, 2.4), glass, pr.GLASS)
            self._box(x, y, 2.4, (4.6, 1.5, 0.2), METAL)
            self._box(x, y + side * 0.2, 0.1, (3.0, 0.5, 0.4), BARK)


def _streets(at, half, main=None) -> np.ndarray:
    """Street records; the one with index main is the main street."""
    streets = np.zeros(len(at), STREET)
    streets['at'], streets['half'] = at, half
    if main is not None:
        streets['half'][main] = MAIN_HALF
    return streets
