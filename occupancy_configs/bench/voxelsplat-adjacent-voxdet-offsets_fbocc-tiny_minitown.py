# VoxelSplat between key frames and VoxDet's offsets on the tiny FB-Occ.
_base_ = ['../voxelsplat/voxelsplat-adjacent_fbocc-tiny_minitown.py']

train_dataloader = dict(
    dataset=dict(
        extra_transforms=[
            *_base_.train_dataloader.dataset.extra_transforms,
            dict(type='VoxelRunLengths', stride=2),
        ]
    )
)

model = dict(
    offset_head=dict(
        type='OffsetHead',
        in_channels=24,
        channels=16,
        stride=2,  # label voxels from cell to cell
        norm_cfg={{_base_.norm}},
    ),
)
