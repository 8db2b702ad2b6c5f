# A small FB-Occ for two CPU cores on MiniTown: the tiny baseline.
_base_ = [
    '../_base_/datasets/openocc_minitown.py',
    '../_base_/models/fbocc_tiny.py',
    '../_base_/schedules/tiny_22e.py',
    '../_base_/runtime.py',
]

# voxels of each class in the training split
class_counts = (
    134833,  # car
    11390,
    26976,
    26703,
    5770,
    401,  # bicycle
    1719,
    1607,
    210,
    2386,
    408981,  # driveable surface
    202587,
    187246,
    431120,
    775606,
    171671,
    7850794,  # free
)

model = dict(occ_head=dict(class_counts=class_counts))
# depths and classes of pixels, from depth-semantics_fbocc-tiny_minitown.py
load_from = '{{ fileDirname }}/../pretrain/depth-semantics_fbocc-tiny_minitown.safetensors'
