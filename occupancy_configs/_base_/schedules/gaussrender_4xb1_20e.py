# GaussRender's recipe for TPVFormer and SurroundOcc: 4 GPUs x 1 sample, 20
# epochs. Of these configs keep the one with the best mIoU.
max_epochs = 20

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    # two groups of parameters instead of one for each parameter
    constructor='GroupedOptimWrapperConstructor',
    # the paper's weight decay; the released code has 1e-4
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-2),
    # a pretrained backbone moves ten times slower
    paramwise_cfg=dict(custom_keys=dict(img_backbone=dict(lr_mult=0.1))),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min_ratio=1e-3,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
# the learning rate belongs to this global batch (--auto-scale-lr)
auto_scale_lr = dict(enable=False, base_batch_size=4)
