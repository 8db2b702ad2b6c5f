# A small FB-Occ: the same parts with few channels, volume at 1.6 m.
volume_grid = dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(50, 50, 4))
volume_channels = 32
# one sample a step is too little for batch statistics
norm = dict(type='GN', num_groups=4)

model = dict(
    type='OccDetector',
    data_preprocessor=dict(type='OccDataPreprocessor'),
    img_backbone=dict(
        type='mmdet.ResNet',
        depth=18,
        base_channels=32,
        num_stages=4,
        out_indices=(1, 2, 3),
        norm_cfg=norm,
        norm_eval=False,
        style='pytorch',
    ),
    img_neck=dict(
        type='SingleMapFPN', in_channels=[64, 128, 256], out_channels=64
    ),
    lifter=dict(
        type='FBOccLifter',
        in_channels=64,
        channels=volume_channels,
        grid=volume_grid,
        mid_channels=64,  # width of the depth net
        depth_bins=dict(start=2.0, stop=42.0, step=1.0),  # metres
        backward=dict(num_anchors=4, num_heads=4, feedforward_channels=64),
        depth_weight=1.0,
        norm_cfg=norm,
    ),
    history=dict(
        type='StreamingHistory',
        channels=volume_channels,
        grid=volume_grid,
        num_frames=2,  # key frames of the past
        norm_cfg=norm,
    ),
    volume_encoder=dict(
        type='VolumeEncoder',
        backbone=dict(
            type='ResNet3D',
            in_channels=volume_channels,
            channels=(32, 48, 64),
            num_blocks=(1, 1, 1),
            norm_cfg=norm,
        ),
        neck=dict(
            type='FPN3D',
            in_channels=(32, 48, 64),
            out_channels=32,
            norm_cfg=norm,
        ),
    ),
    occ_head=dict(
        type='OccHead',
        label_spec='openocc',
        in_channels=32,
        channels=24,
        upsample=2,  # from 1.6 m to the labels' 0.8 m
        # class-balanced, it drowns common classes in so short a training
        loss_weights=dict(sem_scal=0.3),
        norm_cfg=norm,
    ),
)
