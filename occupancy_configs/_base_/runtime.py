# What every run shares: logging, checkpoints, environment.
default_scope = 'mmdet3d'
custom_imports = dict(
    imports=['occsplat.plugin'], allow_failed_imports=False
)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # the newest checkpoints, and the best one by RayIoU
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        save_best='RayIoU',
        rule='greater',
    ),
    # what --resume finds within a long epoch, in iterations
    resume_point=dict(type='ResumePointHook', interval=500),
    # losses that are not finite stop a run by themselves
    finite_gradient=dict(type='FiniteGradientHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # pictures of input and validations, for the second backend below
    sample_sheets=dict(
        type='SampleSheetHook', samples=4, train_interval=500
    ),
)

# where scalars and pictures go besides the work dir: TensorboardVisBackend,
# WandbVisBackend or MLflowVisBackend
vis_backend = None
visualizer = dict(
    type='Visualizer',
    vis_backends=[
        dict(type=name) for name in ('LocalVisBackend', vis_backend) if name
    ],
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
resume = False
# processes draw cameras, voxels and dropout of their own
randomness = dict(seed=0, diff_rank_seed=True)
