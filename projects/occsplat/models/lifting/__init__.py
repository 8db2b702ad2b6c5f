"""From images to the volume."""

from .fbocc_lifter import FBOccLifter

__all__ = ['FBOccLifter']
