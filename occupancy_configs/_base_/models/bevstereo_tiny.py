# A small BEVStereo: the same parts with few channels, volume at 0.8 m.
volume_grid = dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8))
volume_channels = 16  # of each frame
num_frames = 2  # lifted; one more key frame is there to be matched with
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
        # stride 4 to be matched; 8, 16 and 32 lifted, at 8
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm,
        norm_eval=False,
        style='pytorch',
    ),
    img_neck=dict(
        type='SingleMapFPN', in_channels=[64, 128, 256], out_channels=64
    ),
    lifter=dict(
        type='StereoLifter',
        in_channels=64,
        channels=volume_channels,
        grid=volume_grid,
        mid_channels=64,  # width of the depth net
        depth_bins=dict(start=1.0, stop=45.0, step=1.0),  # metres
        num_frames=num_frames,
        stereo=True,
        cost_strides=(2, 1),  # from stride 4 to 8
        depth_weight=1.0,  # 0.05 teaches too little in so short a training
        norm_cfg=norm,
    ),
    volume_encoder=dict(
        type='VolumeEncoder',
        backbone=dict(
            type='ResNet3D',
            in_channels=volume_channels * num_frames,
            channels=(16, 32, 48),
            num_blocks=(1, 1, 1),
            norm_cfg=norm,
        ),
        neck=dict(
            type='LSSFPN3D',
            in_channels=(16, 32, 48),
            out_channels=16,
            norm_cfg=norm,
        ),
    ),
    occ_head=dict(
        type='MLPOccHead',
        label_spec='occ3d',
        grid=volume_grid,
        in_channels=16,
        channels=16,
        hidden_channels=32,
    ),
)
