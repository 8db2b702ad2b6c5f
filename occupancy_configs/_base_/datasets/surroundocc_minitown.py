# SurroundOcc labels of MiniTown, small images, labels pooled to 1 m.
data_root = 'data/minitown/'
label_spec = 'surroundocc'
label_grid = dict(range=(-50, -50, -5, 50, 50, 3), shape=(100, 100, 8))
image_size = (384, 144)  # network input, (width, height) in pixels

train_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadOccLabels', label_spec=label_spec, grid=label_grid),
    # No augmentation: encoders are frozen, and remember their images.
    dict(type='ImageAug', size=image_size),
    # the key frame's own six cameras at 100x56
    dict(type='RenderViews', frames=(0,), scale=0.125),
    dict(type='PackOccInputs'),
]
test_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(type='LoadOccLabels', label_spec=label_spec, grid=label_grid),
    dict(type='LoadBoxes', label_spec=label_spec),
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
        label_spec=label_spec,
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
        label_spec=label_spec,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='RayIoUMetric', label_spec=label_spec, grid=label_grid),
    dict(type='OccIoUMetric', label_spec=label_spec, grid=label_grid),
]
test_evaluator = [
    *val_evaluator,
    dict(type='ImageMetric', label_spec=label_spec, grid=label_grid),
    dict(type='BEVIoUMetric', label_spec=label_spec, grid=label_grid),
    dict(type='VisibleIoUMetric', label_spec=label_spec, grid=label_grid),
    dict(type='DuplicateMetric', label_spec=label_spec, grid=label_grid),
    dict(
        type='OffsetMetric',
        label_spec=label_spec,
        grid=label_grid,
        stride=2,  # cells of the offset heads, also for networks without
    ),
    dict(type='InstanceMetric', label_spec=label_spec, grid=label_grid),
    dict(type='BoxMetric', label_spec=label_spec, grid=label_grid),
    dict(type='BoundaryIoUMetric', label_spec=label_spec, grid=label_grid),
]
