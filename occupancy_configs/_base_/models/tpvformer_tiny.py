# A small TPVFormer for MiniTown and two CPU cores. The parts are TPVFormer's,
# with few channels, but for what a short training needs: backbone and neck
# have learned depths and classes in a pre-training, see ../../pretrain, and
# are then only read. There is one level of image features, of stride 8.
_base_ = ['./image_tiny.py']
channels = 64

model = dict(
    frozen=('img_backbone', 'img_neck'),
    lifter=dict(
        type='TPVLifter',
        grid=dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8)),
        channels=channels,
        plane_stride=2,  # voxels per cell of the planes
        num_layers=2,
        num_heads=4,
        anchors=(4, 16, 16),  # of a cell, along the axis that it lacks
        points_per_anchor=1,  # samples of each head around an anchor
        feedforward_channels=128,
        num_levels=1,
        dropout=0.0,  # a short training has no time to memorise
    ),
    occ_head=dict(
        type='MultiScaleOccHead',
        in_channels=[channels],
        hidden_channels=64,  # of the perceptron on the sum of the planes
        # GaussRender's losses, beside which its weight of 15 stands
        loss_weights=dict(cross_entropy=10.0, lovasz=1.0),
    ),
)
