"""From images to the volume."""

from .fbocc_lifter import FBOccLifter
from .remembered_volumes import RememberedVolumes
from .stereo_lifter import StereoLifter
from .surroundocc_lifter import SurroundOccLifter
from .tpv_lifter import TPVLifter

__all__ = [
    'FBOccLifter',
    'RememberedVolumes',
    'StereoLifter',
    'SurroundOccLifter',
    'TPVLifter',
]
