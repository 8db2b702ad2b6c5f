"""Transforms of the data pipelines, registered with mmdetection3d."""

from .adjacent import LoadAdjacentFrames
from .image_aug import ImageAug
from .lidar import LidarDepth, LoadLidarPoints
from .loading import LoadMultiViewImages
from .occ_labels import LoadOccLabels
from .packing import PackOccInputs
from .pixel_labels import LoadPixelLabels
from .render_views import RenderViews
from .volume_aug import VolumeAug

__all__ = [
    'ImageAug',
    'LidarDepth',
    'LoadAdjacentFrames',
    'LoadLidarPoints',
    'LoadMultiViewImages',
    'LoadOccLabels',
    'LoadPixelLabels',
    'PackOccInputs',
    'RenderViews',
    'VolumeAug',
]
