# BEVDet-Occ Swin-B with the network and the conventions of its published
# weights, for a checkpoint of tools/convert_checkpoint.py --from
# bevdet-occ-stbase-4d-stereo. To train anew, take
# bevstereo-swin-b_32xb1-24e_occ3d-camera-mask.py.
_base_ = [
    './bevstereo-swin-b_32xb1-24e_occ3d-camera-mask.py',
    '../_base_/models/bevdet_released.py',
]

model = dict(
    **_base_.released_model,
    img_neck=dict(align_corners=True),
)

test_pipeline = [
    dict(step, **_base_.released_steps.get(step['type'], {}))
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = _base_.released_evaluator
test_evaluator = _base_.released_evaluator
