"""Occupancy heads: volume levels in, occupancy and flow out."""

from .density_occ_head import DensityOccHead
from .gaussian_occ_head import GaussianOccHead
from .mlp_occ_head import MLPOccHead
from .occ_head import OccHead

__all__ = ['DensityOccHead', 'GaussianOccHead', 'MLPOccHead', 'OccHead']
