# 24 epochs with learning rates that fall towards the image.
_base_ = ['./fbocc_8xb2_24e.py']

optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4
    ),
    paramwise_cfg=dict(
        _delete_=True,
        num_layers=24,  # blocks of the backbone
        decay_rate=0.9,  # from one block to the one before it
        head_scale=2.0,  # everything behind the backbone: 2e-4
    ),
)
