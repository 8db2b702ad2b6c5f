# Depth and semantics for the image encoder of the small BEVStereo. That of
# the small FB-Occ goes on to learn, with one more frame to be matched with.
_base_ = [
    '../_base_/datasets/pixels_minitown.py',
    '../_base_/models/bevstereo_tiny.py',
    '../_base_/schedules/pretrain_tiny.py',
    '../_base_/runtime.py',
]
frames = (0, -1)  # key frames, half a second apart
max_epochs = 4  # of some 500 samples

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
train_dataloader = dict(
    dataset=dict(
        data_root=[f'data/minitown_town{n}/' for n in (1, 2, 3)],
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(
    _delete_=True,
    type='DepthSemanticPretraining',
    img_backbone=_base_.model.img_backbone,
    img_neck=_base_.model.img_neck,
    lifter=dict(_base_.model.lifter, num_frames=1),
)
load_from = '{{ fileDirname }}/depth-semantics_fbocc-tiny_minitown.safetensors'
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=2e-3))  # it has learned before
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=max_epochs, end=max_epochs),
]
# the best checkpoint is the one that knows depths best
default_hooks = dict(checkpoint=dict(save_best='depth_L1', rule='less'))
