# Minutes on two CPU cores: a few hundred steps of one sample.
max_epochs = 5

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=5, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=30),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min_ratio=0.02,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    # history and flow wait for the classes
    dict(type='WarmupSwitchHook', switch_iter=128),
]
auto_scale_lr = dict(enable=False, base_batch_size=1)
