# Offsets alone on the tiny FB-Occ: the classes read what they did before.
_base_ = ['../fbocc/fbocc-tiny_minitown.py']

train_dataloader = dict(
    dataset=dict(extra_transforms=[dict(type='VoxelRunLengths', stride=2)])
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
