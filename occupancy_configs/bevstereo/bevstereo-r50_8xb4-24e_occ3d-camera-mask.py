# BEVStereo R50 that learns only from voxels that a camera sees.
_base_ = ['./bevstereo-r50_8xb4-24e_occ3d.py']

train_pipeline = [
    dict(step, use_camera_mask=True)
    if step['type'] == 'LoadOccLabels'
    else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
