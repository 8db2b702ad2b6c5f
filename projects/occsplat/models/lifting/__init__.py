"""From images to the volume."""

from .fbocc_lifter import FBOccLifter
from .remembered_volumes import RememberedVolumes
from .stereo_lifter import StereoLifter

__all__ = ['FBOccLifter', 'RememberedVolumes', 'StereoLifter']
