"""2D labels that OccSplat makes of nuScenes' LiDAR: no voxels."""

from occsplat.data.label_set import LabelFile

FILE = LabelFile(
    key='lidar2d_path',
    title='2D labels',
    pattern='lidar2d/{scene_name}/{token}.npz',
    command='lidar2d',
)
