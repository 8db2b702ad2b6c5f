# OpenOcc labels (occupancy and flow) on nuScenes, images 640x1600.
_base_ = ['./openocc_nuscenes.py']
image_size = (1600, 640)  # network input, (width, height) in pixels

train_pipeline = [
    dict(step, size=image_size) if step['type'] == 'ImageAug' else step
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, size=image_size) if step['type'] == 'ImageAug' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
