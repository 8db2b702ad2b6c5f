"""The data sets that come with OccSplat, one file each, registered here.

What one from outside does is the same: make a ``LabelSet`` and register it.
"""

from . import lidar2d, occ3d, openocc, surroundocc

# in the order in which info files note the paths
occ3d.LABELS.register()
openocc.LABELS.register()
surroundocc.LABELS.register()
lidar2d.FILE.register()

__all__ = ['lidar2d', 'occ3d', 'openocc', 'surroundocc']
