# BEVDet-Occ R50 with the network and the conventions of its published
# weights, for a checkpoint of tools/convert_checkpoint.py --from
# bevdet-occ-r50-4d-stereo. To train anew, take
# bevstereo-r50_8xb4-24e_occ3d-camera-mask.py.
_base_ = [
    './bevstereo-r50_8xb4-24e_occ3d-camera-mask.py',
    '../_base_/models/bevdet_released.py',
]

model = _base_.released_model

test_pipeline = [
    dict(step, **_base_.released_steps.get(step['type'], {}))
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = _base_.released_evaluator
test_evaluator = _base_.released_evaluator
