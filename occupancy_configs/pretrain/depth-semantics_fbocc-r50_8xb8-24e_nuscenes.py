# Depth and semantics for the image encoder of FB-Occ R50, from ImageNet.
_base_ = [
    '../_base_/datasets/pixels_nuscenes.py',
    '../_base_/models/fbocc_r50.py',
    '../_base_/schedules/pretrain_24e.py',
    '../_base_/runtime.py',
]

model = dict(
    _delete_=True,
    type='DepthSemanticPretraining',
    img_backbone=dict(
        _base_.model.img_backbone,
        # to train without: --cfg-options model.img_backbone.init_cfg=None
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    img_neck=_base_.model.img_neck,
    lifter=dict(_base_.model.lifter, backward=None),
)
# the best checkpoint is the one that knows depths best
default_hooks = dict(checkpoint=dict(save_best='depth_L1', rule='less'))
