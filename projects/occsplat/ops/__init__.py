"""Pure tensor functions: no network, no data set, no config."""

from .ray_casting import cast_rays

__all__ = ['cast_rays']
