# GSRender with ray compensation from two key frames before and two after.
_base_ = ['./gsrender-1f_bevstereo-tiny_minitown.py']

extra_transforms = [
    dict(step, frames=(0, -2, -1, 1, 2))
    for step in _base_.train_dataloader.dataset.extra_transforms
]
train_dataloader = dict(dataset=dict(extra_transforms=extra_transforms))
