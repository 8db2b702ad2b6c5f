"""Train-only losses on Gaussian renders of the predicted volume."""

from .gaussrender_head import GaussRenderHead
from .nerf_render_head import NeRFRenderHead
from .virtual_views import CameraViews, PinholeFromAbove, PlaneView
from .voxelsplat_head import VoxelSplatHead

__all__ = [
    'CameraViews',
    'GaussRenderHead',
    'NeRFRenderHead',
    'PinholeFromAbove',
    'PlaneView',
    'VoxelSplatHead',
]
