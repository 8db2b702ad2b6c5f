# Occ3D labels on nuScenes, images 256x704. Training sees every voxel, seen
# by a camera or not; the metrics count them all, too.
_base_ = ['./nuscenes.py']
labels = dict(label_spec='occ3d')
