# VoxDet on the tiny BEVStereo.
_base_ = ['../bevstereo/bevstereo-tiny_minitown.py']

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
        in_channels=16,
        channels=16,
        stride=2,  # label voxels from cell to cell
        encoder=dict(
            type='SpatiallyDecoupledEncoder',
            channels=16,
            in_levels=1,
            num_levels=2,
            norm_cfg={{_base_.norm}},
        ),
        aggregation=dict(
            type='InstanceAggregation',
            in_channels=16,
            channels=16,
            num_layers=4,
            norm_cfg={{_base_.norm}},
        ),
        aux_head=dict(
            type='MLPOccHead',
            in_channels=_base_.volume_channels * _base_.num_frames,
            channels=16,
            hidden_channels=16,
        ),
        norm_cfg={{_base_.norm}},
    ),
)
