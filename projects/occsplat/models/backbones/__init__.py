"""The image side, where mmdet has no part that fits."""

from .single_map_fpn import SingleMapFPN

__all__ = ['SingleMapFPN']
