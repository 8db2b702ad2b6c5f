"""MiniTown: a procedural town and its sensors, in nuScenes format.

Images, point clouds, boxes, voxel labels and flow all come from one
analytic world, so they agree exactly.

Everything here is computed by compiled kernels: without numba the package
can't be imported.
"""

from .create import create_minitown
from .labels import Labels, make_labels, voxelise
from .lidar import Sweep, take_sweep
from .render import Image, Renderer
from .sensors import Camera, camera_rig, lidar_to_ego
from .world import SCENES, World, build_world

__all__ = [
    'SCENES',
    'Camera',
    'Image',
    'Labels',
    'Renderer',
    'Sweep',
    'World',
    'build_world',
    'camera_rig',
    'create_minitown',
    'lidar_to_ego',
    'make_labels',
    'take_sweep',
    'voxelise',
]
