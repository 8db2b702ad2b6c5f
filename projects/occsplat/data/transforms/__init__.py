"""Transforms of the data pipelines, registered with mmdetection3d."""

from .adjacent import LoadAdjacentFrames
from .boxes import LoadBoxes
from .image_aug import ImageAug
from .image_noise import GridMask, PhotometricDistortion
from .lidar import LidarDepth, LidarSemantics, LoadLidarPoints
from .loading import LoadMultiViewImages
from .occ_labels import LoadOccLabels
from .packing import PackOccInputs
from .pixel_labels import LoadPixelLabels
from .render_views import RenderViews
from .run_lengths import CleanOccLabels, VoxelRunLengths
from .volume_aug import VolumeAug

#: those of a test pipeline that read labels
LABEL_TRANSFORMS = (LoadOccLabels.__name__, LoadBoxes.__name__)

__all__ = [
    'LABEL_TRANSFORMS',
    'CleanOccLabels',
    'GridMask',
    'ImageAug',
    'LidarDepth',
    'LidarSemantics',
    'LoadAdjacentFrames',
    'LoadBoxes',
    'LoadLidarPoints',
    'LoadMultiViewImages',
    'LoadOccLabels',
    'LoadPixelLabels',
    'PackOccInputs',
    'PhotometricDistortion',
    'RenderViews',
    'VolumeAug',
    'VoxelRunLengths',
]
