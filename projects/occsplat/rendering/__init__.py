"""Gaussians and cameras in, images out, differentiably."""

from .label_cache import LabelCache
from .output import RenderOutput
from .pixels import rasterize_pixels, render_pixels
from .rasterize import (
    rasterize,
    rasterize_labels,
    rasterize_pair,
    render,
    render_labels,
    render_pair,
)

__all__ = [
    'LabelCache',
    'RenderOutput',
    'rasterize',
    'rasterize_labels',
    'rasterize_pair',
    'rasterize_pixels',
    'render',
    'render_labels',
    'render_pair',
    'render_pixels',
]
