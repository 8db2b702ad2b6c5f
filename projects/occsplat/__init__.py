"""OccSplat: Gaussian-rendering losses for 3D occupancy networks.

Importing the package registers every config type with mmdetection3d.
"""
