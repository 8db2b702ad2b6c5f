# FB-Occ R50 as published for Occ3D (39.1 mIoU): 16 GPUs x 4 samples, labels
# where a camera sees them, in training as in the score.
_base_ = ['./fbocc-r50_8xb2-48e_occ3d.py']

# FB-Occ counts 20 epochs of 1999 iterations, each as long as one that
# balances classes by repeating frames (4.554 passes over the data), but
# repeats no frame. An epoch here is one pass, so that every setting in
# epochs means what it says: 91 of 439 iterations, 39 949 instead of 39 980.
iters_per_epoch = 28130 // 64
max_epochs = 91
published_epoch = int(iters_per_epoch * 4.554)  # 1999 iterations
# voxels of each class, others to free, by which FB-Occ weighs its loss; the
# label set has the counts of BEVDet, which are a fifth larger
counts = [944004, 1897170, 152386, 2391677, 16957802, 724139, 189027, 2074468]
counts += [413451, 2384460, 5916653, 175883646, 4275424, 51393615, 61411620]
counts += [105975596, 116424404, 1892500630]
model = dict(occ_head=dict(class_counts=counts))

train_pipeline = [
    dict(step, use_camera_mask=True)
    if step['type'] == 'LoadOccLabels'
    else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(pipeline=train_pipeline),
)
camera_miou = dict(type='OccIoUMetric', mask='camera')
val_evaluator = [camera_miou]
test_evaluator = [camera_miou]

# 91 = 7 x 13: seven validations, the last one at the end, each with a
# checkpoint of the weights that it scores
train_cfg = dict(max_epochs=max_epochs, val_interval=13)
optim_wrapper = dict(
    # the backbone at full speed
    paramwise_cfg=dict(custom_keys=dict(img_backbone=dict(lr_mult=1.0)))
)
custom_hooks = [
    # history joins after two published epochs
    dict(type='WarmupSwitchHook', switch_iter=2 * published_epoch),
    *_base_.custom_hooks[1:],
]
default_hooks = dict(checkpoint=dict(interval=13, save_best='mIoU'))
auto_scale_lr = dict(base_batch_size=64)
