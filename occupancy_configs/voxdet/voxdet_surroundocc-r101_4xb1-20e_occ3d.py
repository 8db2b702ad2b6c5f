# VoxDet on SurroundOcc R101: the baseline plus the offset head.
_base_ = ['../surroundocc/surroundocc-r101_4xb1-20e_occ3d.py']

train_dataloader = dict(
    dataset=dict(
        extra_transforms=[
            # neighbours whose labels run into one
            dict(type='CleanOccLabels', max_scale=dict(car=6.0)),  # metres
            # Occ3D calls free what nobody saw: such runs are censored
            dict(type='VoxelRunLengths', stride=2, camera_mask=True),
        ]
    )
)

model = dict(
    offset_head=dict(
        type='OffsetHead',
        in_channels=32,
        channels=32,
        stride=2,  # label voxels from cell to cell: 0.8 m
        encoder=dict(
            type='SpatiallyDecoupledEncoder',
            channels=32,
            in_levels=1,  # the finest of the host's
            num_levels=3,
            width=32,
            norm_cfg=dict(type='GN', num_groups=8),
        ),
        aggregation=dict(
            type='InstanceAggregation',
            in_channels=32,
            channels=32,
            num_layers=4,
            alpha=1.0,  # how far to go, of the offsets
            with_cp=True,  # recompute layers in the backward pass
            norm_cfg=dict(type='GN', num_groups=8),
        ),
        aux_head=dict(
            type='OccHead',
            num_levels=1,
            in_channels=128,  # of the finest lifted volume
            channels=32,
            upsample=2,
            with_flow=False,
            # both as in the host's head
            class_weights={{_base_.class_weights}},
            loss_weights=dict(
                focal=0, sem_scal=0, geo_scal=0, cross_entropy=10.0
            ),
            norm_cfg=dict(type='GN', num_groups=8),
        ),
        loss_weight=1.0,
        aux_weight=0.2,  # lambda
        # four channels a group, as the paper's 32 groups of 128 channels
        norm_cfg=dict(type='GN', num_groups=8),
    ),
)
