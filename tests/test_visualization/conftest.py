"""Pictures that are drawn in less time."""

import importlib
from functools import partial

import pytest

#: what draws volumes into sheets and films
DRAWERS = (
    ('sample_sheet', 'render_occupancy'),
    ('sample_sheet', 'render_colors'),
    ('input_sheet', 'render_occupancy'),
    ('film', 'render_colors'),
    ('flight', 'render_occupancy'),
)


@pytest.fixture(autouse=True)
def one_ray_per_pixel(monkeypatch):
    """Sheets and films have one ray per pixel, not four.

    The others smooth edges, at four times the price. test_voxel_views.py
    calls the drawing functions themselves, and so has them.
    """
    for name, function in DRAWERS:
        module = importlib.import_module(f'occsplat.visualization.{name}')
        coarse = partial(getattr(module, function), supersample=1)
        monkeypatch.setattr(module, function, coarse)
