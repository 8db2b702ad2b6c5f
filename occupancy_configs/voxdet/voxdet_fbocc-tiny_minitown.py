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
            channels=32,
            in_levels=3,
            num_levels=3,
            norm_cfg={{_base_.norm}},
        ),
        aggregation=dict(
            type='InstanceAggregation',
            in_channels=32,
            channels=16,
            num_layers=4,
            norm_cfg={{_base_.norm}},
        ),
        aux_head=dict(
            type='OccHead',
            label_spec='openocc',
            num_levels=1,
            in_channels=32,
            channels=16,
            upsample=2,  # from 1.6 m to the labels' 0.8 m
            with_flow=False,
            loss_weights=dict(sem_scal=0.3),  # as in the host's head
            norm_cfg={{_base_.norm}},
        ),
    ),
)
