"""The image side, where mmdet has no part that fits."""

from .eva02 import EVA02
from .first_stage import first_stage
from .intern_image import InternImage
from .lss_fpn import LSSFPN
from .modulated_deform_conv import ModulatedDeformConv
from .single_map_fpn import SingleMapFPN
from .stereo_swin import StereoSwin

__all__ = [
    'EVA02',
    'InternImage',
    'LSSFPN',
    'ModulatedDeformConv',
    'SingleMapFPN',
    'StereoSwin',
    'first_stage',
]
