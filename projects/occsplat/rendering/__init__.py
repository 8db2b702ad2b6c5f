"""Gaussians and cameras to images. Knows no network and no data set."""

from .output import RenderOutput
from .rasterizer import rasterize

__all__ = ['RenderOutput', 'rasterize']
