"""Metrics: counts a frame, pooled over the set, whatever the device."""

from .occ_iou_metric import OccIoUMetric
from .ray_counts import RayCounts, count_rays, lidar_rays
from .ray_iou_metric import RayIoUMetric
from .voxel_counts import VoxelCounts, count_voxels

__all__ = [
    'OccIoUMetric',
    'RayCounts',
    'RayIoUMetric',
    'VoxelCounts',
    'count_rays',
    'count_voxels',
    'lidar_rays',
]
