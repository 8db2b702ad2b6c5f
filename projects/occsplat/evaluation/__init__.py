"""Metrics: counts a frame, pooled over the set, whatever the device."""

from .bev_iou_metric import BEVIoUMetric, count_columns, top_classes
from .image_counts import ImageCounts, count_pixels, render_occ
from .image_metric import ImageMetric
from .occ_iou_metric import OccIoUMetric
from .ray_counts import RayCounts, count_rays, lidar_rays
from .ray_iou_metric import RayIoUMetric
from .sensor_cameras import exit_depth, pixel_rays, sensor_cameras
from .visible_iou_metric import VisibleIoUMetric, seen_by_cameras
from .voxel_counts import VoxelCounts, count_voxels, without_ignored

__all__ = [
    'BEVIoUMetric',
    'ImageCounts',
    'ImageMetric',
    'OccIoUMetric',
    'RayCounts',
    'RayIoUMetric',
    'VisibleIoUMetric',
    'VoxelCounts',
    'count_columns',
    'count_pixels',
    'count_rays',
    'count_voxels',
    'exit_depth',
    'lidar_rays',
    'pixel_rays',
    'render_occ',
    'seen_by_cameras',
    'sensor_cameras',
    'top_classes',
    'without_ignored',
]
