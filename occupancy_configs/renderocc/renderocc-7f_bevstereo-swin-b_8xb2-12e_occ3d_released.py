# RenderOcc Swin-B with the network and the conventions of its published
# weights, for a checkpoint of tools/convert_checkpoint.py --from
# renderocc-swin-b. To train anew, take
# renderocc-7f_bevstereo-swin-b_8xb2-12e_occ3d.py.
_base_ = [
    './renderocc-7f_bevstereo-swin-b_8xb2-12e_occ3d.py',
    '../_base_/models/bevdet_released.py',
]

model = dict(
    **_base_.released_model,
    img_neck=dict(align_corners=True),
    # a density of 8.5 in a voxel of 0.4 m
    occ_head=dict(opacity_threshold=0.96663),
)

test_pipeline = [
    dict(step, **_base_.released_steps.get(step['type'], {}))
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = _base_.released_evaluator
test_evaluator = _base_.released_evaluator
