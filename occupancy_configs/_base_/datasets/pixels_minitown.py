# What a pre-training reads of MiniTown: small images, and depths and classes
# of the pixels that LiDAR returns fall into. No voxel label is read.
_base_ = ['./openocc_minitown.py']
image_size = (384, 144)  # network input, (width, height) in pixels

train_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(
        type='ImageAug',
        size=image_size,
        resize=(-0.03, 0.05),  # added to the resize factor
        flip=True,  # each image is mirrored with probability 1/2
    ),
    dict(
        type='VolumeAug',  # for what the depth net knows of its cameras
        rotate=10.0,  # degrees about z, either way
        flip_y=0.5,  # probability
    ),
    dict(type='LidarSemantics'),
    dict(type='PackOccInputs'),
]
test_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(type='ImageAug', size=image_size),
    dict(type='LidarSemantics'),
    dict(type='PackOccInputs'),
]

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

val_evaluator = [
    dict(type='DepthMetric'),
    dict(type='PixelIoUMetric'),
]
test_evaluator = val_evaluator
