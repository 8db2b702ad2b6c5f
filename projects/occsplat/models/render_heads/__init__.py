"""Train-only losses on Gaussian renders of the predicted volume."""

from .camera_strategies import KeepCamera, LookAtError, MoveCamera
from .gaussrender_head import GaussRenderHead
from .gsrender_head import GSRenderHead
from .nerf_render_head import NeRFRenderHead
from .pixel_sampling import AllPixels, RarePixels
from .virtual_views import CameraViews, PinholeFromAbove, PlaneView
from .voxelsplat_head import VoxelSplatHead

__all__ = [
    'AllPixels',
    'CameraViews',
    'GSRenderHead',
    'GaussRenderHead',
    'KeepCamera',
    'LookAtError',
    'MoveCamera',
    'NeRFRenderHead',
    'PinholeFromAbove',
    'PlaneView',
    'RarePixels',
    'VoxelSplatHead',
]
