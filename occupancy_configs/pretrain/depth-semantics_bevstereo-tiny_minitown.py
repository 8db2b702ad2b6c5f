# Depth and semantics for the image encoder of the small BEVStereo.
_base_ = [
    '../_base_/datasets/pixels_minitown_96x256.py',
    '../_base_/models/bevstereo_tiny.py',
    '../_base_/schedules/pretrain_tiny.py',
    '../_base_/runtime.py',
]

model = dict(
    _delete_=True,
    type='DepthSemanticPretraining',
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
