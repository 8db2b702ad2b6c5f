# What a pre-training reads of MiniTown, images 96x256.
_base_ = ['./pixels_minitown.py']
image_size = (256, 96)  # network input, (width, height) in pixels

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
