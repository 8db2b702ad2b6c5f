# Occ3D labels on nuScenes, images 256x704 of three key frames. Training
# sees every voxel, seen by a camera or not; the mIoU counts what a camera
# sees, as published ones do.
_base_ = ['./occ3d_nuscenes.py']
changes = dict(
    LoadMultiViewImages=dict(frames=(0, -1, -2)),  # half a second each
    VolumeAug=dict(rotate=0.0),  # mirrored alone
)

train_pipeline = [
    dict(step, **changes.get(step['type'], {}))
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, **changes.get(step['type'], {}))
    for step in _base_.test_pipeline
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        pipeline=train_pipeline,
        # nothing streams: every frame by itself, in random order
        sequence_splits=100,
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='RayIoUMetric'),
    dict(type='OccIoUMetric', mask='camera'),
]
test_evaluator = [*val_evaluator, *_base_.test_evaluator[2:]]
