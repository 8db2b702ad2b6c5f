# nuScenes: images 256x704; loaders, pipelines and metrics. Which labels it
# has is said by the files that build on it, as ``labels``.
data_root = 'data/nuscenes/'
image_size = (704, 256)  # network input, (width, height) in pixels

train_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadLidarPoints'),
    dict(type='LoadOccLabels'),
    dict(
        type='ImageAug',
        size=image_size,
        resize=(-0.06, 0.11),  # added to the resize factor
        rotate=5.4,  # degrees, either way
        flip=True,  # each image is mirrored with probability 1/2
    ),
    dict(
        type='VolumeAug',
        rotate=22.5,  # degrees about z, either way
        flip_x=0.5,  # probability
        flip_y=0.5,
    ),
    dict(type='LidarDepth'),
    # cameras of the key frame and its neighbours, a quarter of their size
    dict(type='RenderViews', frames=(0, -2, -1, 1, 2, 3), scale=0.25),
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
    batch_size=2,
    num_workers=6,  # loading processes, of each GPU
    persistent_workers=True,
    sampler=dict(type='SequenceSampler', shuffle=True),
    dataset=dict(
        type='NuScenesOccDataset',
        data_root=data_root,
        ann_file='occsplat_infos_train.pkl',
        pipeline=train_pipeline,
        sequence_splits=2,  # a scene trains as two streams
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,  # loading processes, of each GPU
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
