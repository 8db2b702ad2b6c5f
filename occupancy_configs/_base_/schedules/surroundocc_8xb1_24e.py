# SurroundOcc's own recipe: 8 GPUs x 1 sample, 24 epochs.
_base_ = ['./gaussrender_4xb1_20e.py']
max_epochs = 24

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=max_epochs, end=max_epochs),
]
auto_scale_lr = dict(base_batch_size=8)
