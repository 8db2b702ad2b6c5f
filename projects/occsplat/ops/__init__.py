"""Pure tensor functions: no network, no data set, no config."""

from .deformable_attention import deformable_attention
from .deformable_conv import deform_conv2d, deformable_conv
from .instance_boxes import InstanceBoxes, instance_boxes, predicted_boxes
from .label_pooling import pool_labels
from .pixel_cells import nearest_in_cells, read_pixels
from .ray_casting import RayRuns, cast_rays, count_runs, visible_voxels
from .run_lengths import known_run_lengths, run_lengths
from .voxel_pooling import voxel_pooling

__all__ = [
    'InstanceBoxes',
    'RayRuns',
    'cast_rays',
    'count_runs',
    'deform_conv2d',
    'deformable_attention',
    'deformable_conv',
    'instance_boxes',
    'known_run_lengths',
    'nearest_in_cells',
    'pool_labels',
    'predicted_boxes',
    'read_pixels',
    'run_lengths',
    'visible_voxels',
    'voxel_pooling',
]
