# A small TPVFormer for MiniTown and two CPU cores. The parts are TPVFormer's,
# with few channels, but for what a short training needs: backbone and neck
# have learned depths and classes in a pre-training, see ../../pretrain, and
# are then only read. There is one level of image features, of stride 8.
channels = 64
# one sample per step is too little for batch statistics
norm = dict(type='GN', num_groups=4)

model = dict(
    type='OccDetector',
    frozen=('img_backbone', 'img_neck'),
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
    img_neck=dict(type='SingleMapFPN', in_channels=[64, 128], out_channels=64),
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
# depths and classes of pixels; the config that taught them has this name
load_from = (
    '{{ fileDirname }}/../../pretrain/'
    'depth-semantics_fbocc-tiny_minitown.safetensors'
)
