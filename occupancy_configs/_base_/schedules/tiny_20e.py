# Ten minutes on two CPU cores, a process and a sample each.
_base_ = ['./tiny.py']
max_epochs = 20  # of some 160 samples

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=max_epochs, end=max_epochs),
]
