# SurroundOcc R101 on its own labels, with its own recipe and losses.
_base_ = [
    '../_base_/datasets/surroundocc_nuscenes_896x1600.py',
    '../_base_/models/surroundocc_r101.py',
    '../_base_/schedules/surroundocc_8xb1_24e.py',
    '../_base_/runtime.py',
]

train_pipeline = [
    *_base_.train_pipeline[:-2],
    dict(
        type='GridMask',
        probability=0.7,
        ratio=0.5,  # of each square's side that is covered
    ),
    *_base_.train_pipeline[-2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    lifter=dict(
        grid=dict(range=(-50, -50, -5, 50, 50, 3), shape=(100, 100, 8)),
    ),
    occ_head=dict(
        class_weights=(1.0,) * 17,
        loss_weights=dict(cross_entropy=1.0, sem_scal=1.0, geo_scal=1.0),
    ),
)
# the epoch that is kept
default_hooks = dict(checkpoint=dict(save_best='mIoU', rule='greater'))
