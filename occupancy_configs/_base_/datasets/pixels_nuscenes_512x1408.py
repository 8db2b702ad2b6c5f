# What a pre-training reads of nuScenes, images 512x1408.
_base_ = ['./pixels_nuscenes.py']
image_size = (1408, 512)  # network input, (width, height) in pixels

train_pipeline = [
    dict(step, size=image_size) if step['type'] == 'ImageAug' else step
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, size=image_size) if step['type'] == 'ImageAug' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(
    batch_size=2,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
