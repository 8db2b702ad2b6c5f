# MiniTown: nuScenes' loaders and metrics, small images without augmentation,
# two cores. Which labels it has is said by the files that build on it, as
# ``labels``.
_base_ = ['./nuscenes.py']
data_root = 'data/minitown/'
image_size = (384, 144)  # network input, (width, height) in pixels

train_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadOccLabels'),
    # No augmentation of images: encoders are frozen, and remember them. None
    # of the volume: turned labels of 0.8 m have holes, and traffic keeps
    # right: where a car is says where it goes.
    dict(type='ImageAug', size=image_size),
    # the key frame's own six cameras at 100x56
    dict(type='RenderViews', frames=(0,), scale=0.125),
    dict(type='PackOccInputs'),
]
test_pipeline = [
    dict(step, size=image_size) if step['type'] == 'ImageAug' else step
    for step in _base_.test_pipeline
]

train_dataloader = dict(
    batch_size=1,
    num_workers=1,  # loading processes; two cores have no room for more
    # frames of eight scenes by turns: those of one scene are alike
    sampler=dict(turns=8),
    dataset=dict(
        data_root=data_root,
        pipeline=train_pipeline,
        sequence_splits=1,  # a scene is one stream
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
