"""Occupancy heads: volume levels in, occupancy, flow and offsets out."""

from .density_occ_head import DensityOccHead
from .gaussian_occ_head import GaussianOccHead
from .instance_aggregation import InstanceAggregation
from .mlp_occ_head import MLPOccHead
from .multi_scale_occ_head import MultiScaleOccHead
from .occ_head import OccHead
from .offset_head import OffsetHead

__all__ = [
    'DensityOccHead',
    'GaussianOccHead',
    'InstanceAggregation',
    'MLPOccHead',
    'MultiScaleOccHead',
    'OccHead',
    'OffsetHead',
]
