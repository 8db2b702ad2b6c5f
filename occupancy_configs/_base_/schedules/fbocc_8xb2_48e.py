# VoxelSplat's recipe for FB-Occ: 8 GPUs x 2 samples, 48 epochs.
max_epochs = 48
iters_per_epoch = 28130 // 16  # nuScenes training key frames / batch

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=12
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    # two groups of parameters instead of one for each parameter
    constructor='GroupedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-2),
    # a pretrained backbone moves ten times slower
    paramwise_cfg=dict(custom_keys=dict(img_backbone=dict(lr_mult=0.1))),
    clip_grad=dict(max_norm=5, norm_type=2),
)
param_scheduler = [
    # constant after the first 200 iterations
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=200),
]
custom_hooks = [
    # history and flow join after two epochs
    dict(type='WarmupSwitchHook', switch_iter=2 * iters_per_epoch),
    # Decay rises as 0.999 * (1 - exp(-n / 2000)) with the n-th update. The
    # released code starts at n = 10 560, that is at 0.994, so that the first
    # averages hold random weights; some 5 000 updates on, neither start has
    # left a trace.
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
auto_scale_lr = dict(enable=False, base_batch_size=16)
