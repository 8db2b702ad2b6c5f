"""Gaussians and cameras in, images out, differentiably."""

from .output import RenderOutput
from .rasterize import rasterize, rasterize_labels, rasterize_pair, render

__all__ = [
    'RenderOutput',
    'rasterize',
    'rasterize_labels',
    'rasterize_pair',
    'render',
]
