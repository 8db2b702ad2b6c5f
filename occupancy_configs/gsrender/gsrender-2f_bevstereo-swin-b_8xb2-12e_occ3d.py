# GSRender with ray compensation from the next key frame: the main setting.
_base_ = ['./gsrender-1f_bevstereo-swin-b_8xb2-12e_occ3d.py']

extra_transforms = [
    dict(step, frames=(0, 1))
    for step in _base_.train_dataloader.dataset.extra_transforms
]
train_dataloader = dict(dataset=dict(extra_transforms=extra_transforms))
