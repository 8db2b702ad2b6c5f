# VoxelSplat on a small FB-Occ all of whose parts learn, with an average of
# its weights, and a witness.
_base_ = ['../small_fbocc_config.py']

model = dict(
    render_heads=[
        dict(
            type='VoxelSplatHead',
            num_samples=12_000,
            scale=0.3,
        )
    ]
)
custom_imports = dict(imports=['occsplat.plugin', 'stream_toy'])
custom_hooks = [
    dict(type='WarmupSwitchHook', switch_iter=1),
    dict(type='EMAHook', ema_type='mmdet.ExpMomentumEMA', gamma=5),
    dict(type='WitnessHook', path='witness'),
]
default_hooks = dict(resume_point=dict(interval=3))
log_level = 'WARNING'
