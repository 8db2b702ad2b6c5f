"""Sun, sky and colours of a scene, and the noise that textures share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..kernels import njit

#: side of the tile of noise
TILE = 256

#: colours are linear red, green, blue
LIGHT = np.dtype(
    [
        ('toward_sun', np.float64, (3,)),
        ('sun', np.float64, (3,)),
        ('ambient', np.float64, (3,)),
        ('zenith', np.float64, (3,)),
        ('horizon', np.float64, (3,)),
        ('clouds', np.float64),  # 0 clear to 1 overcast
        ('haze', np.float64),  # extinction per metre
        ('exposure', np.float64),
        ('shift', np.float64),  # where the scene reads the noise tile
    ],
    align=True,
)


@dataclass(frozen=True)
class Light:
    """The light of a scene.

    Attributes:
        name: weather, for the scene's description.
        record: what the kernels take, shape (1,), dtype LIGHT.
    """

    name: str
    record: np.ndarray

    @property
    def toward_sun(self) -> np.ndarray:
        """Unit vector to the sun, global frame, shape (3,)."""
        return self.record['toward_sun'][0]


#: name, sun, ambient, zenith, horizon, clouds, haze, elevation in degrees
_WEATHERS = (
    (
        'clear noon',
        (1.0, 0.95, 0.86),
        (0.30, 0.36, 0.46),
        (0.10, 0.24, 0.58),
        (0.50, 0.63, 0.80),
        0.25,
        0.0022,
        (48, 62),
    ),
    (
        'sun and clouds',
        (0.9, 0.86, 0.78),
        (0.34, 0.38, 0.44),
        (0.16, 0.29, 0.55),
        (0.58, 0.66, 0.76),
        0.6,
        0.003,
        (35, 55),
    ),
    (
        'late afternoon',
        (1.05, 0.74, 0.46),
        (0.29, 0.31, 0.40),
        (0.13, 0.22, 0.46),
        (0.82, 0.62, 0.44),
        0.4,
        0.004,
        (18, 28),
    ),
    (
        'overcast',
        (0.26, 0.26, 0.27),
        (0.50, 0.52, 0.55),
        (0.42, 0.45, 0.50),
        (0.64, 0.66, 0.69),
        0.9,
        0.006,
        (62, 75),
    ),
    (
        'morning haze',
        (0.8, 0.7, 0.58),
        (0.40, 0.42, 0.45),
        (0.30, 0.38, 0.52),
        (0.74, 0.70, 0.65),
        0.5,
        0.010,
        (24, 36),
    ),
)


def random_light(rng: np.random.Generator) -> Light:
    """Weather and time of day.

    Args:
        rng: source of randomness.

    Returns:
        Light: one of five weathers, jittered.
    """
    name, sun, ambient, zenith, horizon, clouds, haze, height = _WEATHERS[
        rng.integers(len(_WEATHERS))
    ]
    elevation = math.radians(rng.uniform(*height))
    azimuth = rng.uniform(-math.pi, math.pi)
    record = np.zeros(1, LIGHT)
    record['toward_sun'] = (
        math.cos(elevation) * math.cos(azimuth),
        math.cos(elevation) * math.sin(azimuth),
        math.sin(elevation),
    )
    tint = rng.normal(1.0, 0.03, 3)
    record['sun'] = np.array(sun) * tint * rng.uniform(0.9, 1.1)
    record['ambient'] = np.array(ambient) * tint
    record['zenith'] = zenith
    record['horizon'] = horizon
    record['clouds'] = clouds
    record['haze'] = haze * rng.uniform(0.8, 1.2)
    record['exposure'] = rng.uniform(1.25, 1.5)
    record['shift'] = rng.uniform(0.0, TILE)
    return Light(name, record)


@lru_cache(maxsize=1)
def noise_tile() -> np.ndarray:
    """Fractal value noise that repeats every TILE units.

    Returns:
        np.ndarray: float32 in 0..1, shape (TILE, TILE), mean about 0.5.
    """
    rng = np.random.default_rng(7)
    total = np.zeros((TILE, TILE))
    for octave in range(6):
        cells = 8 << octave
        values = rng.random((cells, cells))
        at = np.arange(TILE) * cells / TILE
        low = at.astype(int)
        f = at - low
        f = f * f * (3 - 2 * f)
        high = (low + 1) % cells
        rows = values[low] * (1 - f)[:, None] + values[high] * f[:, None]
        total += 0.62**octave * (rows[:, low] * (1 - f) + rows[:, high] * f)
    low, high = np.percentile(total, [1, 99])
    return np.clip((total - low) / (high - low), 0, 1).astype(np.float32)


@njit(cache=True, error_model='numpy')
def noise(tile, u, v):
    """The tile at (u, v), interpolated, repeated over the plane."""
    i, j = math.floor(u), math.floor(v)
    a, b = u - i, v - j
    i0, j0 = int(i) & 255, int(j) & 255
    i1, j1 = (i0 + 1) & 255, (j0 + 1) & 255
    low = tile[i0, j0] * (1.0 - b) + tile[i0, j1] * b
    high = tile[i1, j0] * (1.0 - b) + tile[i1, j1] * b
    return low * (1.0 - a) + high * a


@njit(cache=True, error_model='numpy')
def scatter(a, b):
    """A number in 0..1 that looks random, from two integers."""
    h = (int(a) * 73856093) ^ (int(b) * 19349663)
    h = (h ^ (h >> 13)) * 1274126177
    return ((h ^ (h >> 16)) & 65535) / 65535.0


@njit(cache=True, error_model='numpy')
def sky(light, tile, dx, dy, dz):
    """Colour of the sky along a unit vector."""
    up = max(dz, 0.0)
    # the silhouette of far hills, where no sensor measures anything
    bearing = 40.0 * (dx / (abs(dx) + abs(dy) + 1e-9))
    if dy < 0.0:
        bearing = 160.0 - bearing
    hill = 0.012 + 0.05 * noise(tile, bearing + light.shift, 17.3)
    if dz < hill:
        r = 0.75 * light.horizon[0] + 0.02
        g = 0.80 * light.horizon[1] + 0.02
        b = 0.86 * light.horizon[2] + 0.02
        return r, g, b
    k = math.sqrt(min(up * 1.6, 1.0))
    r = light.horizon[0] + k * (light.zenith[0] - light.horizon[0])
    g = light.horizon[1] + k * (light.zenith[1] - light.horizon[1])
    b = light.horizon[2] + k * (light.zenith[2] - light.horizon[2])
    u, v = 14.0 * dx / (up + 0.12), 14.0 * dy / (up + 0.12)
    cover = noise(tile, u + light.shift, v) - 1.0 + light.clouds
    cover = min(max(cover * 2.6, 0.0), 1.0) * min(up * 9.0, 1.0)
    white = 0.55 * light.ambient[1] + 0.55
    r += cover * (white - r)
    g += cover * (white - g)
    b += cover * (1.02 * white - b)
    toward = light.toward_sun
    glow = dx * toward[0] + dy * toward[1] + dz * toward[2]
    if glow > 0.6:
        glow = (glow - 0.6) / 0.4
        glow = glow * glow * glow
        halo = 0.35 * glow + 2.0 * glow**64
        r += halo * light.sun[0]
        g += halo * light.sun[1]
        b += halo * light.sun[2]
    return r, g, b
