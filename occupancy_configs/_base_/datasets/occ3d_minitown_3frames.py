# Occ3D labels of MiniTown, pooled to 0.8 m, images of three key frames.
_base_ = ['./occ3d_minitown.py']
images = dict(
    type='LoadMultiViewImages',
    frames=(0, -1, -2),  # key frames, half a second each
)

train_pipeline = [images, *_base_.train_pipeline[1:]]
test_pipeline = [images, *_base_.test_pipeline[1:]]
train_dataloader = dict(
    sampler=dict(turns=1),
    dataset=dict(
        pipeline=train_pipeline,
        # nothing streams: every frame by itself, in random order
        sequence_splits=100,
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
