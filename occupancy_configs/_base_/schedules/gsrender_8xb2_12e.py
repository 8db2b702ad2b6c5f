# GSRender's recipe: 8 GPUs x 2 samples, 12 epochs, a rate that falls to 0.
# What the paper leaves out (warm-up, averages of weights, clipping) is as in
# BEVStereo's; Adam's weight decay is left at 0.
_base_ = ['./bevstereo_24e.py']
max_epochs = 12

train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=2e-4, weight_decay=0.0)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=200),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.0,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=16)
