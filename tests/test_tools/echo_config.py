# All metrics on MiniTown, for a model without a network.
default_scope = 'mmdet3d'
custom_imports = dict(imports=['occsplat.plugin', 'echo'])
labels = dict(
    label_spec='openocc',
    grid=dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8)),
)
model = dict(type='EchoModel')
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='NuScenesOccDataset',
        data_root='data/minitown',
        ann_file='occsplat_infos_val.pkl',
        pipeline=[
            dict(type='LoadMultiViewImages'),
            dict(type='LoadOccLabels'),
            dict(type='LoadBoxes'),
            dict(type='ImageAug', size=(128, 48)),
            dict(type='PackOccInputs'),
        ],
        test_mode=True,
    ),
)
test_evaluator = [
    dict(type='RayIoUMetric'),
    dict(
        type='OccIoUMetric',
        mask='camera',
        prefix='camera',
    ),
    dict(type='ImageMetric'),
    dict(type='BEVIoUMetric'),
    dict(type='VisibleIoUMetric', stride=4),
    dict(type='DuplicateMetric'),
    dict(type='OffsetMetric'),
    dict(type='InstanceMetric'),
    dict(type='BoxMetric'),
    dict(type='BoundaryIoUMetric'),
]
test_cfg = dict()
env_cfg = dict(dist_cfg=dict(backend='nccl'))
log_level = 'ERROR'
