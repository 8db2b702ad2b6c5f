"""From images to the volume."""

from .fbocc_lifter import FBOccLifter
from .stereo_lifter import StereoLifter

__all__ = ['FBOccLifter', 'StereoLifter']
