# BEVDepth's schedule: 24 epochs, 64 samples per step.
max_epochs = 24

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=6
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-7),
    clip_grad=dict(max_norm=5, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=200),
    dict(type='MultiStepLR', milestones=[19, 23], by_epoch=True),
]
# batch statistics over all GPUs; plain batch norm on a single process, and
# on CPUs
sync_bn = 'torch'
# the learning rate belongs to this global batch (--auto-scale-lr)
auto_scale_lr = dict(enable=False, base_batch_size=64)
