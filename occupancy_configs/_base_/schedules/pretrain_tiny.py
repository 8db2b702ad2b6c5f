# Minutes on two CPU cores: steps of one sample, that is six images.
_base_ = ['./tiny.py']
max_epochs = 12  # of some 500 samples

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=max_epochs, end=max_epochs),
]
custom_hooks = []  # there is no history and no flow that could join
