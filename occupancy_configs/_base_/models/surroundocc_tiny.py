# A small SurroundOcc for MiniTown and two CPU cores. The parts are
# SurroundOcc's, with few channels, but for what a short training needs: the
# backbone has learned depths and classes in a pre-training, see
# ../../pretrain, and is then only read. Volumes have two resolutions.
norm = dict(type='GN', num_groups=4)

model = dict(
    type='OccDetector',
    frozen=('img_backbone',),
    data_preprocessor=dict(type='OccDataPreprocessor'),
    img_backbone=dict(
        type='mmdet.ResNet',
        depth=18,
        base_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(1, 2),
        norm_cfg=norm,
        norm_eval=False,
        style='pytorch',
    ),
    img_neck=dict(
        type='mmdet.FPN', in_channels=[64, 128], out_channels=64, num_outs=2
    ),
    lifter=dict(
        type='SurroundOccLifter',
        in_channels=64,
        grid=dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(50, 50, 4)),
        channels=(32, 64),  # of 50x50x4 and 25x25x2 voxels
        num_layers=(1, 2),
        num_points=(2, 4),  # samples of each head around a voxel's centre
        num_heads=4,
        norm_cfg=norm,
        dropout=0.0,  # a short training has no time to memorise
    ),
    volume_encoder=dict(
        type='DeconvDecoder3D',
        in_channels=(32, 64),
        channels=(16, 32, 32),  # of 100x100x8 voxels and coarser
        norm_cfg=norm,
    ),
    occ_head=dict(
        type='MultiScaleOccHead',
        in_channels=[16, 32, 32],
        # GaussRender's losses, beside which its weight of 15 stands
        loss_weights=dict(cross_entropy=10.0, lovasz=1.0),
    ),
)
# depths and classes of pixels; the config that taught them has this name
load_from = (
    '{{ fileDirname }}/../../pretrain/'
    'depth-semantics_fbocc-tiny_minitown.safetensors'
)
