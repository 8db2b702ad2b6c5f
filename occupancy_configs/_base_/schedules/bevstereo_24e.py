# BEVStereo's recipe: 24 epochs, 32 samples per step.
max_epochs = 24

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=6
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-2),
    clip_grad=dict(max_norm=5, norm_type=2),
)
param_scheduler = [
    # constant after the first 200 iterations
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=200),
]
custom_hooks = [
    # decay rises as 0.999 * (1 - exp(-n / 2000)) with the n-th update
    dict(
        type='EMAHook',
        ema_type='mmdet.ExpMomentumEMA',
        momentum=0.001,
        gamma=2000,
        update_buffers=True,  # running statistics of norms, too
    ),
]
# batch statistics over all GPUs; plain batch norm on a single process, and
# on CPUs
sync_bn = 'torch'
# the learning rate belongs to this global batch (--auto-scale-lr)
auto_scale_lr = dict(enable=False, base_batch_size=32)
