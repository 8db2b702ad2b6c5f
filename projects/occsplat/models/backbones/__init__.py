"""The image side, where mmdet has no part that fits."""

from .eva02 import EVA02
from .intern_image import InternImage
from .single_map_fpn import SingleMapFPN

__all__ = ['EVA02', 'InternImage', 'SingleMapFPN']
