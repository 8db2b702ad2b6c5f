# Depth and semantics for the image encoder of the small FB-Occ, learned in
# three towns that no detector is trained on or scored on. They are made by
#   bash tools/make_towns.sh 0 1 2 3
_base_ = [
    '../_base_/datasets/pixels_minitown.py',
    '../_base_/models/fbocc_tiny.py',
    '../_base_/schedules/pretrain_tiny.py',
    '../_base_/runtime.py',
]

train_dataloader = dict(
    dataset=dict(data_root=[f'data/minitown_town{n}/' for n in (1, 2, 3)])
)
model = dict(
    _delete_=True,
    type='DepthSemanticPretraining',
    img_backbone=_base_.model.img_backbone,
    img_neck=_base_.model.img_neck,
    lifter=_base_.model.lifter,
)
load_from = None  # from scratch
# the best checkpoint is the one that knows depths best
default_hooks = dict(checkpoint=dict(save_best='depth_L1', rule='less'))
