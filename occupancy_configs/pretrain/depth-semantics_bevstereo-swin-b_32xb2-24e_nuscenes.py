# Depth and semantics for BEVStereo Swin-B, from ImageNet-22K.
_base_ = [
    '../_base_/datasets/pixels_nuscenes_512x1408.py',
    '../_base_/models/bevstereo_swin_b.py',
    '../_base_/schedules/pretrain_24e.py',
    '../_base_/runtime.py',
]

model = dict(
    _delete_=True,
    type='DepthSemanticPretraining',
    # to train without: --cfg-options model.init_cfg=None
    init_cfg=_base_.model.init_cfg,
    label_spec='openocc',
    img_backbone=_base_.model.img_backbone,
    img_neck=_base_.model.img_neck,
    lifter=dict(
        # of two frames nothing is matched yet
        _base_.model.lifter,
        num_frames=1,
        stereo=False,
    ),
)
# the best checkpoint is the one that knows depths best
default_hooks = dict(checkpoint=dict(save_best='depth_L1', rule='less'))
