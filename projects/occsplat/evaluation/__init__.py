"""Metrics: counts per frame, pooled over the set, whatever the device."""

from occsplat import mm  # noqa: F401  before anything of mmdet3d

from .bev_iou_metric import BEVIoUMetric, count_columns, top_classes
from .boundary_iou_metric import (
    BoundaryIoUMetric,
    count_boundaries,
    near_boundary,
)
from .box_counts import BoxCounts, box_ious, count_boxes
from .box_files import detection_results, write_detections
from .box_metric import BoxMetric
from .cell_counts import DepthCounts, count_cells, count_depths
from .cell_metrics import DepthMetric, PixelIoUMetric
from .duplicate_metric import DuplicateMetric
from .fields import check_fields
from .image_counts import ImageCounts, count_pixels, render_occ
from .image_metric import ImageMetric
from .instance_counts import InstanceCounts, count_instances
from .instance_metric import InstanceMetric
from .metric_directions import DIRECTIONS_OF_METRICS, metric_direction
from .metric_files import write_frame_table, write_metrics
from .occ_iou_metric import OccIoUMetric
from .offset_counts import DIRECTIONS, OffsetCounts, count_offsets, run_offsets
from .offset_metric import OffsetMetric
from .panoptic_metric import RayPQMetric
from .ray_counts import (
    FrameRays,
    RayCounts,
    cast_frame,
    compare_rays,
    count_rays,
    lidar_rays,
)
from .ray_files import (
    CHALLENGE_INFO,
    RayFile,
    RayFileWriter,
    check_tokens,
    from_arrays,
    read_challenge_info,
    read_ray_file,
    to_arrays,
)
from .ray_iou_metric import RayIoUMetric
from .run_counts import RunCounts, count_ray_runs
from .sensor_cameras import exit_depth, pixel_rays, sensor_cameras
from .threshold_sweep import (
    CALIBRATION_THRESHOLDS,
    VALIDATION_THRESHOLDS,
    ThresholdSweep,
    best_threshold,
    choices,
    pooled,
)
from .visible_iou_metric import VisibleIoUMetric, seen_by_cameras
from .volume_files import VOLUME_FILE, read_volumes, write_volumes
from .voxel_counts import VoxelCounts, count_voxels, without_ignored

__all__ = [
    'CALIBRATION_THRESHOLDS',
    'CHALLENGE_INFO',
    'VALIDATION_THRESHOLDS',
    'DIRECTIONS',
    'DIRECTIONS_OF_METRICS',
    'VOLUME_FILE',
    'BEVIoUMetric',
    'BoundaryIoUMetric',
    'BoxCounts',
    'BoxMetric',
    'DepthCounts',
    'DepthMetric',
    'DuplicateMetric',
    'FrameRays',
    'ImageCounts',
    'ImageMetric',
    'InstanceCounts',
    'InstanceMetric',
    'OccIoUMetric',
    'OffsetCounts',
    'OffsetMetric',
    'PixelIoUMetric',
    'RayCounts',
    'RayFile',
    'RayFileWriter',
    'RayIoUMetric',
    'RayPQMetric',
    'RunCounts',
    'ThresholdSweep',
    'VisibleIoUMetric',
    'VoxelCounts',
    'best_threshold',
    'box_ious',
    'cast_frame',
    'check_fields',
    'check_tokens',
    'choices',
    'compare_rays',
    'count_boundaries',
    'count_boxes',
    'count_cells',
    'count_columns',
    'count_depths',
    'count_instances',
    'count_offsets',
    'count_pixels',
    'count_ray_runs',
    'count_rays',
    'count_voxels',
    'detection_results',
    'exit_depth',
    'from_arrays',
    'lidar_rays',
    'metric_direction',
    'near_boundary',
    'pixel_rays',
    'pooled',
    'read_challenge_info',
    'read_ray_file',
    'read_volumes',
    'render_occ',
    'run_offsets',
    'seen_by_cameras',
    'sensor_cameras',
    'to_arrays',
    'top_classes',
    'without_ignored',
    'write_detections',
    'write_frame_table',
    'write_metrics',
    'write_volumes',
]
