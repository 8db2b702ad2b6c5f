"""The nouns of OccSplat: grids, labels, cameras, Gaussians, samples."""

from .adjacent_frames import AdjacentFrames
from .camera_rig import CameraRig, inverse
from .errors import DataError, MissingPackageError, NonFiniteError
from .files import PART, check_writable, whole_file, write_errors
from .gaussians import Gaussians
from .label_spec import LabelSpec
from .label_statistics import LabelStatistics
from .occ_data import OccBatch, OccDataSample, OccPrediction
from .pixel_labels import PixelLabels
from .voxel_grid import VoxelGrid, as_grid, same_shape
from .voxel_opacity import VoxelOpacity

__all__ = [
    'AdjacentFrames',
    'CameraRig',
    'DataError',
    'Gaussians',
    'LabelSpec',
    'LabelStatistics',
    'MissingPackageError',
    'NonFiniteError',
    'OccBatch',
    'OccDataSample',
    'OccPrediction',
    'PART',
    'PixelLabels',
    'VoxelGrid',
    'VoxelOpacity',
    'as_grid',
    'check_writable',
    'inverse',
    'same_shape',
    'whole_file',
    'write_errors',
]
