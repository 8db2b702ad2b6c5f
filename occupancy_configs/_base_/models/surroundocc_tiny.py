# A small SurroundOcc for MiniTown and two CPU cores. The parts are
# SurroundOcc's, with few channels, but for what a short training needs: the
# backbone has learned depths and classes in a pre-training, see
# ../../pretrain, and is then only read. Volumes have two resolutions.
_base_ = ['./image_tiny.py']

model = dict(
    frozen=('img_backbone',),
    img_neck=dict(
        _delete_=True,
        type='mmdet.FPN',
        in_channels=[64, 128],
        out_channels=64,
        num_outs=2,
    ),
    lifter=dict(
        type='SurroundOccLifter',
        in_channels=64,
        grid=dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(50, 50, 4)),
        channels=(32, 64),  # of 50x50x4 and 25x25x2 voxels
        num_layers=(1, 2),
        num_points=(2, 4),  # samples of each head around a voxel's centre
        num_heads=4,
        norm_cfg={{_base_.norm}},
        dropout=0.0,  # a short training has no time to memorise
    ),
    volume_encoder=dict(
        type='DeconvDecoder3D',
        in_channels=(32, 64),
        channels=(16, 32, 32),  # of 100x100x8 voxels and coarser
        norm_cfg={{_base_.norm}},
    ),
    occ_head=dict(
        type='MultiScaleOccHead',
        in_channels=[16, 32, 32],
        # GaussRender's losses, beside which its weight of 15 stands
        loss_weights=dict(cross_entropy=10.0, lovasz=1.0),
    ),
)
