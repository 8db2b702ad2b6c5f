# FB-Occ: forward projection, depth-aware backward projection, streaming
# history of 16 frames, 3D ResNet + FPN, soft-weighted multi-level head.
# the volume that images are lifted into: 0.8 m voxels
volume_grid = dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8))
volume_channels = 80
norm3d = dict(type='BN3d')

model = dict(
    type='OccDetector',
    # to train without: --cfg-options model.init_cfg=None
    init_cfg=dict(
        type='PublicWeights',
        checkpoint='ckpts/r50_256x705_depth_pretrain.pth',
        key_map='r50_depth',
    ),
    data_preprocessor=dict(type='OccDataPreprocessor'),
    img_backbone=dict(
        type='mmdet.ResNet',
        depth=50,
        num_stages=4,
        out_indices=(2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
        with_cp=True,  # recompute activations: half the memory
    ),
    img_neck=dict(
        type='SingleMapFPN', in_channels=[1024, 2048], out_channels=256
    ),
    lifter=dict(
        type='FBOccLifter',
        in_channels=256,
        channels=volume_channels,
        grid=volume_grid,
        mid_channels=512,  # width of the depth net
        depth_bins=dict(start=2.0, stop=42.0, step=0.5),  # metres
        backward=dict(num_anchors=4, num_heads=8, feedforward_channels=320),
        depth_weight=1.0,
        with_cp=True,  # recompute the depth branch's activations
    ),
    history=dict(
        type='StreamingHistory',
        channels=volume_channels,
        grid=volume_grid,
        num_frames=16,  # key frames of the past
        norm_cfg=norm3d,
    ),
    volume_encoder=dict(
        type='VolumeEncoder',
        backbone=dict(
            type='ResNet3D',
            in_channels=volume_channels,
            channels=(64, 128, 256),
            num_blocks=(2, 2, 2),
            norm_cfg=norm3d,
        ),
        neck=dict(
            type='FPN3D',
            in_channels=(64, 128, 256),
            out_channels=256,
            norm_cfg=norm3d,
        ),
    ),
    occ_head=dict(
        type='OccHead',
        in_channels=256,
        channels=128,
        upsample=2,  # from 0.8 m to the labels' 0.4 m
        norm_cfg=norm3d,
    ),
)
