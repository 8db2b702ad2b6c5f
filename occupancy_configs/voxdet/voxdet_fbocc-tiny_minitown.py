# VoxDet on the tiny FB-Occ: minutes on two CPU cores.
_base_ = ['./voxdet-offsets_fbocc-tiny_minitown.py']

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
        encoder=dict(
            type='SpatiallyDecoupledEncoder',
            channels=24,
            in_levels=1,  # of the host
            num_levels=3,
            width=12,  # of planes and pyramids: half the host's, for CPUs
            norm_cfg={{_base_.norm}},
        ),
        aggregation=dict(
            type='InstanceAggregation',
            in_channels=24,
            channels=16,
            num_layers=4,
            norm_cfg={{_base_.norm}},
        ),
        aux_head=dict(
            type='OccHead',
            num_levels=1,
            in_channels={{_base_.volume_channels}},
            channels=16,
            upsample=1,
            level_kernel=1,
            with_flow=False,
            # both as in the host's head
            class_counts={{_base_.class_counts}},
            loss_weights={{_base_.model.occ_head.loss_weights}},
            norm_cfg={{_base_.norm}},
        ),
    ),
)
