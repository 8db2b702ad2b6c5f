# SurroundOcc labels (occupancy, LiDAR frame) on nuScenes, images 896x1600.
_base_ = ['./nuscenes_896x1600.py']
labels = dict(label_spec='surroundocc')
