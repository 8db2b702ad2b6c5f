# The small FB-Occ on MiniTown's SurroundOcc labels, pooled to 1 m.
_base_ = [
    '../_base_/datasets/surroundocc_minitown.py',
    '../_base_/models/fbocc_tiny.py',
    '../_base_/schedules/tiny_20e.py',
    '../_base_/runtime.py',
]

model = dict(
    lifter=dict(grid={{_base_.labels.grid}}),
    history=dict(grid={{_base_.labels.grid}}),
    occ_head=dict(
        with_flow=False,
    ),
)
