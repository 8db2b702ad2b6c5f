# Depth and semantics for BEVStereo Swin-B, from ImageNet-22K.
_base_ = [
    '../_base_/datasets/pixels_nuscenes_512x1408.py',
    '../_base_/models/bevstereo_swin_b.py',
    '../_base_/schedules/pretrain_24e.py',
    '../_base_/runtime.py',
]
frames = (0, -1)  # key frames, half a second apart

train_pipeline = [
    dict(step, frames=frames)
    if step['type'] == 'LoadMultiViewImages'
    else step
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, frames=frames)
    if step['type'] == 'LoadMultiViewImages'
    else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(
    _delete_=True,
    type='DepthSemanticPretraining',
    # to train without: --cfg-options model.init_cfg=None
    init_cfg=_base_.model.init_cfg,
    img_backbone=_base_.model.img_backbone,
    img_neck=_base_.model.img_neck,
    # one frame, matched with the one before
    lifter=dict(_base_.model.lifter, num_frames=1, pre_process=False),
)
# the best checkpoint is the one that knows depths best
default_hooks = dict(checkpoint=dict(save_best='depth_L1', rule='less'))
