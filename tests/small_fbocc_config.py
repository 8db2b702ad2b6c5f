# FB-Occ as published, small: the parts of fbocc_r50.py in their order and
# with their options, but few channels, two frames of the past and small
# images. The tiny configs freeze the encoder and leave some of it out.
_base_ = [
    '../occupancy_configs/_base_/datasets/openocc_minitown.py',
    '../occupancy_configs/_base_/models/fbocc_r50.py',
    '../occupancy_configs/_base_/schedules/tiny.py',
    '../occupancy_configs/_base_/runtime.py',
]
volume_grid = dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(50, 50, 4))
volume_channels = 32
# one sample a step is too little for batch statistics
norm = dict(type='GN', num_groups=4)
instead = dict(norm, _delete_=True)  # of batch norm

train_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadLidarPoints'),
    dict(type='LoadOccLabels'),
    dict(type='ImageAug', size=(256, 96), flip=True),
    dict(type='VolumeAug', rotate=10.0, flip_y=0.5),
    dict(type='LidarDepth'),
    dict(type='RenderViews', frames=(0,), scale=0.125),
    dict(type='PackOccInputs'),
]
test_pipeline = [
    dict(step, size=(256, 96)) if step['type'] == 'ImageAug' else step
    for step in _base_.test_pipeline
]
# two streams of a scene, which the history follows
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline, sequence_splits=2)
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(
    init_cfg=None,
    img_backbone=dict(
        depth=18,
        base_channels=32,
        norm_cfg=instead,
    ),
    img_neck=dict(in_channels=[128, 256], out_channels=64),
    lifter=dict(
        in_channels=64,
        channels=volume_channels,
        grid=volume_grid,
        mid_channels=64,
        depth_bins=dict(step=1.0),
        backward=dict(num_heads=4, feedforward_channels=64),
        norm_cfg=norm,
    ),
    history=dict(
        channels=volume_channels,
        grid=volume_grid,
        num_frames=2,
        norm_cfg=instead,
    ),
    volume_encoder=dict(
        backbone=dict(
            in_channels=volume_channels,
            channels=(32, 48, 64),
            num_blocks=(1, 1, 1),
            norm_cfg=instead,
        ),
        neck=dict(in_channels=(32, 48, 64), out_channels=32, norm_cfg=instead),
    ),
    occ_head=dict(in_channels=32, channels=24, norm_cfg=instead),
)
