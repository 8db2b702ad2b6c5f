# A small FB-Occ for two CPU cores on MiniTown: the tiny baseline.
_base_ = [
    '../_base_/datasets/openocc_minitown.py',
    '../_base_/models/fbocc_tiny.py',
    '../_base_/schedules/tiny_20e.py',
    '../_base_/runtime.py',
]

# voxels of each class in the training split
class_counts = (
    166322,  # car
    13103,
    31148,
    36063,
    6738,
    494,  # bicycle
    2069,
    2013,
    231,
    2754,
    505296,  # driveable surface
    248588,
    233697,
    550212,
    1024854,
    211523,
    9764895,  # free
)

model = dict(occ_head=dict(class_counts=class_counts))
