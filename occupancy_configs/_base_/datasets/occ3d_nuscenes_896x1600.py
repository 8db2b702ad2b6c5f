# Occ3D labels on nuScenes, images 896x1600. Training sees every voxel; the
# mIoU counts what a camera sees, as GaussRender's does.
_base_ = ['./nuscenes_896x1600.py']
labels = dict(label_spec='occ3d')

val_evaluator = [
    dict(type='RayIoUMetric'),
    dict(type='OccIoUMetric', mask='camera'),
]
test_evaluator = [*val_evaluator, *_base_.test_evaluator[2:]]
