# BEVStereo for occupancy (BEVDet's BEVStereo4D, as in RenderOcc): depths
# helped by a plane sweep, two frames lifted into a volume at the labels'
# resolution, 3D ResNet and one-level neck, a perceptron on every voxel.
# the volume that images are lifted into: the labels' 0.4 m voxels
volume_grid = dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(200, 200, 16))
volume_channels = 32  # of each frame
num_frames = 2  # lifted; one more key frame is there to be matched with
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
        out_indices=(0, 2, 3),  # stride 4 to be matched, 16 and 32 lifted
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
        type='StereoLifter',
        in_channels=256,
        channels=volume_channels,
        grid=volume_grid,
        mid_channels=256,  # width of the depth net
        depth_bins=dict(start=1.0, stop=45.0, step=0.5),  # metres
        num_frames=num_frames,
        stereo=True,
        depth_weight=0.05,
        with_cp=True,  # recompute the depth branch's activations
    ),
    volume_encoder=dict(
        type='VolumeEncoder',
        backbone=dict(
            type='ResNet3D',
            in_channels=volume_channels * num_frames,
            channels=(32, 64, 128),
            num_blocks=(1, 2, 4),
            norm_cfg=norm3d,
        ),
        neck=dict(
            type='LSSFPN3D',
            in_channels=(32, 64, 128),
            out_channels=32,
            norm_cfg=norm3d,
        ),
    ),
    occ_head=dict(
        type='MLPOccHead',
        grid=volume_grid,
        in_channels=32,
        channels=32,
        hidden_channels=64,
    ),
)
