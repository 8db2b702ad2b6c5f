# Three epochs of six iterations on twelve frames, validated after each.
default_scope = 'mmdet3d'
custom_imports = dict(imports=['occsplat.plugin', 'stream_toy'])
model = dict(type='StreamNet')
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='SequenceSampler', shuffle=True),
    dataset=dict(type='DrivesDataset'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='SequenceSampler', shuffle=False),
    dataset=dict(type='DrivesDataset'),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='FramesMetric')
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=0.01),
    accumulative_counts=2,
    clip_grad=dict(max_norm=1),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=9),
    dict(type='ExponentialLR', gamma=0.7, by_epoch=True),
]
default_hooks = dict(
    checkpoint=dict(
        type='CheckpointHook', interval=1, save_best='value', rule='less'
    ),
    resume_point=dict(type='ResumePointHook', interval=4),
)
custom_hooks = [
    dict(type='WarmupSwitchHook', switch_iter=2),
    dict(
        type='EMAHook',
        ema_type='mmdet.ExpMomentumEMA',
        momentum=0.1,
        gamma=5,
        update_buffers=True,
    ),
    dict(type='WitnessHook', path='witness'),
]
randomness = dict(seed=3)
log_level = 'WARNING'
