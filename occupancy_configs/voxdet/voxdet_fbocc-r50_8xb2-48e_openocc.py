# VoxDet on FB-Occ R50: the baseline plus the offset head.
_base_ = ['../fbocc/fbocc-r50_8xb2-48e_openocc.py']

train_dataloader = dict(
    dataset=dict(
        extra_transforms=[
            # neighbours whose labels run into one
            dict(type='CleanOccLabels', max_scale=dict(car=6.0)),  # metres
            dict(type='VoxelRunLengths', stride=2),
        ]
    )
)

model = dict(
    offset_head=dict(
        type='OffsetHead',
        in_channels=256,
        channels=64,
        stride=2,  # label voxels from cell to cell: 0.8 m
        encoder=dict(
            type='SpatiallyDecoupledEncoder',
            channels=256,
            in_levels=3,
            num_levels=3,
            width=128,  # of planes and pyramids
        ),
        aggregation=dict(
            type='InstanceAggregation',
            in_channels=256,
            channels=64,
            num_layers=4,
            alpha=1.0,  # how far to go, of the offsets
            with_cp=True,  # recompute layers in the backward pass
        ),
        aux_head=dict(
            type='OccHead',
            num_levels=1,
            in_channels={{_base_.volume_channels}},
            channels=32,
            upsample=2,  # from 0.8 m to the labels' 0.4 m
            with_flow=False,
            norm_cfg={{_base_.norm3d}},
        ),
        loss_weight=1.0,
        aux_weight=0.2,  # lambda
    ),
)
