# Occ3D labels on nuScenes, images 256x704. Training sees every voxel, seen
# by a camera or not; the metrics count them all, too.
data_root = 'data/nuscenes/'
label_spec = 'occ3d'
image_size = (704, 256)  # network input, (width, height) in pixels

train_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadLidarPoints'),
    dict(type='LoadOccLabels', label_spec=label_spec),
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
    dict(type='LoadOccLabels', label_spec=label_spec),
    dict(type='LoadBoxes', label_spec=label_spec),
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
        label_spec=label_spec,
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
        label_spec=label_spec,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='RayIoUMetric', label_spec=label_spec),
    dict(type='OccIoUMetric', label_spec=label_spec),
]
test_evaluator = [
    *val_evaluator,
    dict(type='ImageMetric', label_spec=label_spec),
    dict(type='BEVIoUMetric', label_spec=label_spec),
    dict(type='VisibleIoUMetric', label_spec=label_spec),
    dict(type='DuplicateMetric', label_spec=label_spec),
    dict(
        type='OffsetMetric',
        label_spec=label_spec,
        stride=2,  # cells of the offset heads, also for networks without
    ),
    dict(type='InstanceMetric', label_spec=label_spec),
    dict(type='BoxMetric', label_spec=label_spec),
    dict(type='BoundaryIoUMetric', label_spec=label_spec),
]
