# nuScenes: images 896x1600 of one key frame, their colours distorted in
# training and nothing else. TPVFormer's, SurroundOcc's and GaussRender's
# pipeline. Which labels it has is said by the files that build on it.
_base_ = ['./nuscenes.py']
image_size = (1600, 896)  # network input: the top four rows are cut off

train_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadOccLabels'),
    dict(type='PhotometricDistortion'),
    dict(type='ImageAug', size=image_size),
    # cameras of the key frame and its neighbours, a quarter of their size
    dict(type='RenderViews', frames=(0, -2, -1, 1, 2, 3), scale=0.25),
    dict(type='PackOccInputs'),
]
test_pipeline = [
    dict(step, size=image_size) if step['type'] == 'ImageAug' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        pipeline=train_pipeline,
        # nothing streams: every frame by itself, in random order
        sequence_splits=100,
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# images and the view from above as GaussRender's tables have them
sensors = (1600, 900)
released = dict(
    ImageMetric=dict(protocol='gaussrender', image_size=sensors),
    BEVIoUMetric=dict(protocol='gaussrender'),
    VisibleIoUMetric=dict(image_size=sensors),
)
test_evaluator = [
    dict(metric, **released.get(metric['type'], {}))
    for metric in _base_.test_evaluator
]
