# SurroundOcc labels (occupancy, LiDAR frame) on nuScenes, images 256x704.
_base_ = ['./nuscenes.py']
labels = dict(label_spec='surroundocc')
