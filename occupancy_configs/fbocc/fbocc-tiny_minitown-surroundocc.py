# The small FB-Occ on MiniTown's SurroundOcc labels, pooled to 1 m.
_base_ = [
    '../_base_/datasets/surroundocc_minitown.py',
    '../_base_/models/fbocc_tiny.py',
    '../_base_/schedules/tiny.py',
    '../_base_/runtime.py',
]

# half the labels' resolution
volume_grid = dict(range=(-50, -50, -5, 50, 50, 3), shape=(50, 50, 4))

model = dict(
    lifter=dict(grid=volume_grid),
    history=dict(grid=volume_grid),
    occ_head=dict(label_spec='surroundocc', with_flow=False),
)
