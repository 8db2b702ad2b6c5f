"""Train-only losses on Gaussian renders of the predicted volume."""

from .gaussrender_head import GaussRenderHead
from .gsrender_head import GSRenderHead
from .nerf_render_head import NeRFRenderHead
from .virtual_views import CameraViews, PinholeFromAbove, PlaneView
from .voxelsplat_head import VoxelSplatHead

__all__ = [
    'CameraViews',
    'GSRenderHead',
    'GaussRenderHead',
    'NeRFRenderHead',
    'PinholeFromAbove',
    'PlaneView',
    'VoxelSplatHead',
]
