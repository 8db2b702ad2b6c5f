# A small FB-Occ for two CPU cores on MiniTown: the tiny baseline.
_base_ = [
    '../_base_/datasets/openocc_minitown.py',
    '../_base_/models/fbocc_tiny.py',
    '../_base_/schedules/tiny.py',
    '../_base_/runtime.py',
]
