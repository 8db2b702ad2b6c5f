"""OccSplat: Gaussian-rendering losses for 3D occupancy networks.

Importing the package registers nothing. ``occsplat.structures``,
``occsplat.ops`` and ``occsplat.rendering`` are a library that needs torch,
numpy and numba alone. ``occsplat.plugin`` registers every config type with
mmdetection3d: configs import it through ``custom_imports``.
"""
