# All metrics on MiniTown, for a model without a network.
default_scope = 'mmdet3d'
custom_imports = dict(imports=['occsplat', 'echo'])
grid = dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8))
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
            dict(type='LoadOccLabels', grid=grid),
            dict(type='LoadBoxes'),
            dict(type='ImageAug', size=(128, 48)),
            dict(type='PackOccInputs'),
        ],
        test_mode=True,
    ),
)
test_evaluator = [
    dict(type='RayIoUMetric', grid=grid),
    dict(type='OccIoUMetric', grid=grid, mask='camera', prefix='camera'),
    dict(type='ImageMetric', grid=grid),
    dict(type='BEVIoUMetric', grid=grid),
    dict(type='VisibleIoUMetric', grid=grid, stride=4),
    dict(type='DuplicateMetric', grid=grid),
    dict(type='OffsetMetric', grid=grid),
    dict(type='InstanceMetric', grid=grid),
    dict(type='BoxMetric', grid=grid),
    dict(type='BoundaryIoUMetric', grid=grid),
]
test_cfg = dict()
env_cfg = dict(dist_cfg=dict(backend='nccl'))
log_level = 'ERROR'
