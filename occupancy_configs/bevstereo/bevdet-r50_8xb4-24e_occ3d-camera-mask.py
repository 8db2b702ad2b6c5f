# BEVDet R50, the single frame without stereo, on voxels that a camera sees.
_base_ = [
    '../_base_/datasets/occ3d_nuscenes_3frames.py',
    '../_base_/models/bevdet_r50.py',
    '../_base_/schedules/bevstereo_24e.py',
    '../_base_/runtime.py',
]
frames = (0,)
changes = dict(
    LoadMultiViewImages=dict(frames=frames),
    LoadOccLabels=dict(use_camera_mask=True),
)
train_pipeline = [
    dict(step, **changes.get(step['type'], {}))
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, frames=frames)
    if step['type'] == 'LoadMultiViewImages'
    else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
