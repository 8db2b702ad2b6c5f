# SurroundOcc: volumes of three resolutions look at the images; a decoder
# with an output of each of four.
_base_ = ['./r101_dcn.py']
pyramid_channels = 512
norm3d = dict(type='GN', num_groups=16)

model = dict(
    img_neck=dict(
        out_channels=pyramid_channels, num_outs=3, add_extra_convs=False
    ),
    lifter=dict(
        type='SurroundOccLifter',
        in_channels=pyramid_channels,
        channels=(128, 256, 512),  # of 100x100x8, 50x50x4 and 25x25x2 voxels
        num_layers=(1, 3, 6),
        num_points=(2, 4, 8),  # samples of each head around a voxel's centre
        num_heads=8,
        norm_cfg=norm3d,
        dropout=0.1,
        with_cp=True,  # recompute layers in the backward pass
    ),
    volume_encoder=dict(
        type='DeconvDecoder3D',
        in_channels=(128, 256, 512),
        channels=(32, 64, 128, 256),  # of 200x200x16 voxels and coarser
        norm_cfg=norm3d,
    ),
    occ_head=dict(
        type='MultiScaleOccHead',
        in_channels=[32, 64, 128, 256],
        bias=False,
        # GaussRender's losses, beside which its weight of 15 stands
        loss_weights=dict(cross_entropy=10.0, lovasz=1.0),
        level_decay=0.5,  # weight of a level over that of the finer one
    ),
)
