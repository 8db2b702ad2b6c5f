"""The nouns of OccSplat: grids, labels, cameras, Gaussians, samples.

Samples stand on mmengine's data elements; they are imported when they are
asked for, so that the rest needs torch and numpy alone.
"""

from typing import TYPE_CHECKING, Any

from .adjacent_frames import AdjacentFrames
from .camera_rig import CameraRig, inverse
from .cameras import Cameras
from .errors import DataError, MissingPackageError, NonFiniteError
from .files import PART, check_writable, whole_file, write_errors
from .findings import Finding
from .gaussians import Gaussians
from .geometry import transform_points
from .label_spec import LabelSpec
from .label_statistics import LabelStatistics
from .pixel_labels import PixelLabels
from .voxel_grid import VoxelGrid, as_grid, same_shape
from .voxel_opacity import VoxelOpacity

if TYPE_CHECKING:
    from .occ_data import OccBatch, OccDataSample, OccPrediction

__all__ = [
    'AdjacentFrames',
    'CameraRig',
    'Cameras',
    'DataError',
    'Finding',
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
    'transform_points',
    'whole_file',
    'write_errors',
]


def __getattr__(name: str) -> Any:
    """Samples, batches and predictions, imported now."""
    if name in ('OccBatch', 'OccDataSample', 'OccPrediction'):
        from . import occ_data

        return getattr(occ_data, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
