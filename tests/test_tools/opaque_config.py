# Labels and their ghosts, for a head that has an opacity threshold.
_base_ = ['echo_config.py']
model = dict(
    type='OpaqueEchoModel',
    _delete_=True,
    occ_head=dict(
        type='OccHead',
        in_channels=4,
        num_levels=1,
        channels=4,
        upsample=1,
        with_flow=False,
        opacity_threshold=0.5,
    ),
)
val_dataloader = {{_base_.test_dataloader}}
train_dataloader = dict(
    dataset=dict(
        type='NuScenesOccDataset',
        data_root='data/minitown',
        ann_file='occsplat_infos_train.pkl',
    )
)
test_evaluator = [
    dict(type='RayIoUMetric', flow=False),
    dict(type='OccIoUMetric'),
    dict(type='OccIoUMetric', mask='camera', prefix='seen'),
    dict(type='BEVIoUMetric'),
    dict(type='DuplicateMetric'),
]
val_evaluator = dict(type='OccIoUMetric')
# never run; the Runner takes a split's keys all or none
val_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
