# MiniTown: small images; loaders, pipelines and metrics. Which labels it has
# is said by the files that build on it, as ``labels``.
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
    dict(type='LoadMultiViewImages'),
    dict(type='LoadOccLabels'),
    dict(type='LoadBoxes'),
    dict(type='ImageAug', size=image_size),
    dict(type='PackOccInputs'),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=1,  # loading processes; two cores have no room for more
    persistent_workers=True,
    # frames of eight scenes by turns: those of one scene are alike
    sampler=dict(type='SequenceSampler', shuffle=True, turns=8),
    dataset=dict(
        type='NuScenesOccDataset',
        data_root=data_root,
        ann_file='occsplat_infos_train.pkl',
        pipeline=train_pipeline,
        sequence_splits=1,  # a scene is one stream
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,  # loading processes; two cores have no room for more
    persistent_workers=True,
    sampler=dict(type='SequenceSampler', shuffle=False),
    dataset=dict(
        type='NuScenesOccDataset',
        data_root=data_root,
        ann_file='occsplat_infos_val.pkl',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='RayIoUMetric'),
    dict(type='OccIoUMetric'),
]
test_evaluator = [
    *val_evaluator,
    dict(type='ImageMetric'),
    dict(type='BEVIoUMetric'),
    dict(type='VisibleIoUMetric'),
    dict(type='DuplicateMetric'),
    dict(
        type='OffsetMetric',
        stride=2,  # cells of the offset heads, also for networks without
    ),
    dict(type='InstanceMetric'),
    dict(type='BoxMetric'),
    dict(type='BoundaryIoUMetric'),
]
