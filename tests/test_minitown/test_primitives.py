import numpy as np
import pytest

from occsplat.minitown import primitives as pr

SOLIDS = {
    'box': (pr.BOX, (1.0, 0.6, 0.8), (0.0, 0.0, 0.0)),
    'cabin': (pr.BOX, (1.0, 0.8, 0.5), (0.6, 0.3, 0.2)),
    'gable': (pr.BOX, (1.0, 0.8, 0.5), (0.0, 0.0, 0.8)),
    'beam': (pr.BOX, (0.3, 0.2, 0.9), (-0.7, 0.7, 0.0)),
    'cylinder': (pr.CONE, (0.5, 0.5, 0.8), (0.0, 0.0, 0.0)),
    'cone': (pr.CONE, (0.7, 0.1, 0.6), (0.0, 0.0, 0.0)),
    'ellipsoid': (pr.ELLIPSOID, (0.9, 0.5, 0.7), (0.0, 0.0, 0.0)),
    'wheel': (pr.WHEEL, (0.6, 0.2, 0.6), (0.0, 0.0, 0.0)),
}


def solid(name):
    kind, half, slopes = SOLIDS[name]
    colour = (0.5, 0.5, 0.5)
    return pr.primitive(
        kind, (0.3, -0.2, 0.4), half, 17, colour, yaw=0.7, slopes=slopes
    )


@pytest.mark.parametrize('name', SOLIDS)
def test_rays_enter_where_points_begin_to_be_inside(name):
    part = solid(name)[0]
    rng = np.random.default_rng(0)
    steps = np.linspace(0.0, 8.0, 1601)
    hits = 0
    for _ in range(80):
        origin = rng.normal(size=3)
        origin *= 4.0 / np.linalg.norm(origin)
        target = rng.uniform(-0.7, 0.7, 3) + (0.3, -0.2, 0.4)
        direction = target - origin
        direction /= np.linalg.norm(direction)
        inside = [pr.contains(part, *(origin + s * direction)) for s in steps]
        local = pr.to_local(part, *(origin - (0.3, -0.2, 0.4)))
        t = pr.hit_local(part, *local, *pr.to_local(part, *direction))
        if any(inside):
            hits += 1
            # contained from the first step after the entry on
            assert steps[np.argmax(inside)] == pytest.approx(t, abs=0.0051)
            assert steps[np.argmax(inside)] >= t - 1e-9
        else:
            # a miss, or a corner thinner than the steps
            gone = t + 0.01 if np.isfinite(t) else 0.0
            assert not pr.contains(part, *(origin + gone * direction))
    assert hits > 20


@pytest.mark.parametrize('name', SOLIDS)
def test_normals_point_out_of_the_surface(name):
    part = solid(name)[0]
    rng = np.random.default_rng(1)
    for _ in range(60):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        origin = -4.0 * direction + rng.uniform(-0.3, 0.3, 3)
        t = pr.hit_local(part, *origin, *direction)
        if not np.isfinite(t):
            continue
        point = origin + t * direction
        normal = np.array(pr.normal_local(part, *point))
        assert np.linalg.norm(normal) == pytest.approx(1.0)
        # the ray came from outside
        assert normal @ direction < 1e-9


@pytest.mark.parametrize('name', SOLIDS)
def test_bounds_hold_the_solid_tightly(name):
    part = solid(name)
    part['c'], part['s'] = 1.0, 0.0
    low, high = pr.bounds(part)
    axes = [np.linspace(a - 0.3, b + 0.3, 61) for a, b in zip(low, high)]
    points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)
    inside = points[[pr.contains(part[0], *p) for p in points]]
    spacing = max(a[1] - a[0] for a in axes)
    assert (inside >= low - 1e-9).all() and (inside <= high + 1e-9).all()
    assert np.abs(inside.min(0) - low).max() < 1.5 * spacing
    assert np.abs(inside.max(0) - high).max() < 1.5 * spacing
