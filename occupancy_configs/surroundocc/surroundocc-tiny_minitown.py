# A small SurroundOcc for two CPU cores on MiniTown.
_base_ = [
    '../_base_/datasets/occ3d_minitown.py',
    '../_base_/models/surroundocc_tiny.py',
    '../_base_/schedules/tiny_20e.py',
    '../_base_/runtime.py',
]

# attention does not stand the other tiny hosts' rate
optim_wrapper = dict(optimizer=dict(lr=2e-3))
