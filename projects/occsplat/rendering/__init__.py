"""Gaussians and cameras in, images out, differentiably."""

from .label_cache import LabelCache, LabelImages
from .output import RenderOutput
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
    'LabelImages',
    'RenderOutput',
    'rasterize',
    'rasterize_labels',
    'rasterize_pair',
    'render',
    'render_labels',
    'render_pair',
]
