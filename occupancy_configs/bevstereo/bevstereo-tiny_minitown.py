# A small BEVStereo for two CPU cores on MiniTown: the tiny baseline.
_base_ = [
    '../_base_/datasets/occ3d_minitown_3frames.py',
    '../_base_/models/bevstereo_tiny.py',
    '../_base_/schedules/tiny_20e.py',
    '../_base_/runtime.py',
]
