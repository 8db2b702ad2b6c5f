# GSRender with 2D and voxel labels together.
_base_ = ['./gsrender-2f_bevstereo-swin-b_8xb2-12e_occ3d.py']

extra_transforms = [
    dict(type='LoadOccLabels'),
    *_base_.extra_transforms,
]
train_dataloader = dict(dataset=dict(extra_transforms=extra_transforms))
model = dict(
    occ_head=dict(loss_weights=dict(geometry=1.0, semantic=1.0)),
)
