# SurroundOcc R101 on SurroundOcc labels, GaussRender's recipe and losses.
_base_ = [
    '../_base_/datasets/surroundocc_nuscenes_896x1600.py',
    '../_base_/models/surroundocc_r101.py',
    '../_base_/schedules/gaussrender_4xb1_20e.py',
    '../_base_/runtime.py',
]
# of the classes in a cross-entropy, from GaussianFormer: free, barrier, ...,
# vegetation
class_weights = (
    *(0.5, 1.0690, 1.3001, 1.0725, 0.9464, 1.1009, 1.2696, 1.0626, 1.1890),
    *(1.0622, 1.0060, 0.8571, 1.0392, 0.9087, 0.8936, 0.8549, 0.8528),
)

model = dict(
    lifter=dict(
        grid=dict(range=(-50, -50, -5, 50, 50, 3), shape=(100, 100, 8)),
    ),
    occ_head=dict(class_weights=class_weights),
)
# the epoch that is kept
default_hooks = dict(checkpoint=dict(save_best='mIoU', rule='greater'))
