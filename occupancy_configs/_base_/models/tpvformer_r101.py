# TPVFormer as GaussRender trains it: three planes of half the labels'
# resolution, three layers, a perceptron on their sum.
_base_ = ['./r101_dcn.py']
channels = 256  # of image features, planes and volume

model = dict(
    lifter=dict(
        type='TPVLifter',
        channels=channels,
        plane_stride=2,  # voxels per cell of the planes
        num_layers=3,
        num_heads=8,
        anchors=(4, 32, 32),  # of a cell, along the axis that it lacks
        points_per_anchor=2,  # samples of each head around an anchor
        feedforward_channels=512,
        num_levels=4,
        dropout=0.1,
        with_cp=True,  # recompute layers in the backward pass
    ),
    occ_head=dict(
        type='MultiScaleOccHead',
        in_channels=[channels],
        hidden_channels=512,  # of the perceptron on the sum of the planes
        # GaussRender's losses, beside which its weight of 15 stands
        loss_weights=dict(cross_entropy=10.0, lovasz=1.0),
        with_cp=True,
    ),
)
