"""Occupancy heads: volume levels in, occupancy and flow out."""

from .occ_head import OccHead

__all__ = ['OccHead']
