# The tiny VoxelSplat with an average of its weights, and a witness.
_base_ = [
    '../../occupancy_configs/voxelsplat/voxelsplat_fbocc-tiny_minitown.py'
]

custom_imports = dict(imports=['occsplat', 'stream_toy'])
custom_hooks = [
    dict(type='WarmupSwitchHook', switch_iter=1),
    dict(type='EMAHook', ema_type='mmdet.ExpMomentumEMA', gamma=5),
    dict(type='WitnessHook', path='witness'),
]
default_hooks = dict(resume_point=dict(interval=3))
log_level = 'WARNING'
