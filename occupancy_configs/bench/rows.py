# The rows of the bench: every method on its host, from one pre-trained
# encoder, on towns that the encoder has not seen.
#   bash tools/make_towns.sh
#   python tools/compare_methods.py --rows occupancy_configs/bench/rows.py \
#       --calibrate --jobs 2 --work-dir work_dirs/bench
town = 'data/minitown_town{}/'
# eight scenes of a town that nothing is trained on; its 'val' has two
scored = dict(data_root=town.format(9), ann_file='occsplat_infos_train.pkl')
shared = dict(
    train_dataloader=dict(dataset=dict(data_root=[town.format(4)])),
    val_dataloader=dict(dataset=scored),
    test_dataloader=dict(dataset=scored),
    max_epochs=9,  # of 160 samples: a run is minutes of one core
    train_cfg=dict(val_begin=100),  # only the test scores
)
twice_the_frames = dict(
    shared,
    train_dataloader=dict(
        dataset=dict(data_root=[town.format(4), town.format(5)])
    ),
)
free_outside = dict(shared, **{'model.render_heads.0.outside': 'free'})
# of a neighbour's labels, what moves counts less, not what could move
moving = dict(free_outside, **{'model.render_heads.0.dynamic': 'instance'})
sensor = {'model.render_heads.0.preset': 'gaussrender_sensor'}
fbocc = '../fbocc/fbocc-tiny_minitown.py'
voxelsplat = ['RayIoU', 'mAVE', 'mAVE_TP']  # what its paper claims
gaussrender = ['mIoU', 'IoU', 'RayIoU', 'image_mIoU']
voxdet = ['mIoU', 'IoU', 'RayIoU', 'BoxRecall']
gsrender = ['RayIoU', 'mIoU']

rows = [
    dict(name='fbocc', config=fbocc, options=shared),
    # the negative control: nothing differs but the seeds
    dict(
        name='fbocc-again',
        config=fbocc,
        options=shared,
        baseline='fbocc',
        seed_offset=1000,
    ),
    # the positive control: what has to help
    dict(
        name='fbocc-twice',
        config=fbocc,
        options=twice_the_frames,
        baseline='fbocc',
        claim=['RayIoU', 'mIoU'],
    ),
    dict(
        name='voxelsplat',
        config='../voxelsplat/voxelsplat_fbocc-tiny_minitown.py',
        options=shared,
        baseline='fbocc',
        claim=voxelsplat,
    ),
    dict(
        name='voxelsplat-adjacent',
        config='../voxelsplat/voxelsplat-adjacent_fbocc-tiny_minitown.py',
        options=shared,
        baseline='fbocc',
        claim=voxelsplat,
    ),
    # flow from the motion of labels alone, without a flow label. Its control
    # learns the opposite flow: time runs backwards.
    dict(
        name='noflow',
        config='../voxelsplat/voxelsplat-noflow_fbocc-tiny_minitown.py',
        options=shared,
    ),
    dict(
        name='noflow-backwards',
        config='../voxelsplat/voxelsplat-noflow_fbocc-tiny_minitown.py',
        options=dict(
            shared,
            **{
                'train_dataloader.dataset.extra_transforms.0.backwards': True,
            },
        ),
        baseline='noflow',
        claim=['mAVE', 'mAVE_TP'],  # worse
    ),
    dict(
        name='gaussrender',
        config='../gaussrender/gaussrender_fbocc-tiny_minitown.py',
        options=shared,
        baseline='fbocc',
        claim=gaussrender,
    ),
    # its losses beside the balanced ones of this host: a fifth of their
    # weight; and one that is least where the class probabilities are right,
    # while L1 is least where the likeliest class has all of it
    dict(
        name='gaussrender-light',
        config='../gaussrender/gaussrender_fbocc-tiny_minitown.py',
        options=dict(shared, **{'model.render_heads.0.weight': 3.0}),
        baseline='fbocc',
        claim=gaussrender,
    ),
    dict(
        name='gaussrender-kl',
        config='../gaussrender/gaussrender_fbocc-tiny_minitown.py',
        options=dict(shared, **{'model.render_heads.0.semantic_loss': 'kl'}),
        baseline='fbocc',
        claim=gaussrender,
    ),
    dict(
        name='gaussrender-sensor',
        config='../gaussrender/gaussrender-sensor_fbocc-tiny_minitown.py',
        options=shared,
        baseline='fbocc',
        claim=gaussrender,
    ),
    # the better of VoxelSplat's two motions, and GaussRender
    dict(
        name='voxelsplat-adjacent+gaussrender',
        config='voxelsplat-adjacent-gaussrender_fbocc-tiny_minitown.py',
        options=shared,
        baseline='voxelsplat-adjacent',
        claim=gaussrender,
    ),
    dict(
        name='voxelsplat-both',
        config='voxelsplat-both_fbocc-tiny_minitown.py',
        options=shared,
        baseline='voxelsplat-adjacent',
        claim=voxelsplat,
    ),
    dict(
        name='voxelsplat-adjacent+voxdet-offsets',
        config='voxelsplat-adjacent-voxdet-offsets_fbocc-tiny_minitown.py',
        options=shared,
        baseline='voxelsplat-adjacent',
        claim=voxdet,
    ),
    dict(
        name='voxdet-offsets',
        config='../voxdet/voxdet-offsets_fbocc-tiny_minitown.py',
        options=shared,
        baseline='fbocc',
        claim=voxdet,
    ),
    dict(
        name='voxdet',
        config='../voxdet/voxdet_fbocc-tiny_minitown.py',
        options=shared,
        baseline='fbocc',
        claim=voxdet,
    ),
    # GaussRender on its own hosts, beside the losses that its weight of 15
    # was found with
    dict(
        name='tpvformer',
        config='../tpvformer/tpvformer-tiny_minitown.py',
        options=shared,
    ),
    dict(
        name='tpvformer+gaussrender',
        config='../gaussrender/gaussrender_tpvformer-tiny_minitown.py',
        options=shared,
        baseline='tpvformer',
        claim=gaussrender,
    ),
    # without virtual cameras and the view from above: what no sensor sees
    # so short a training does not learn
    dict(
        name='tpvformer+gaussrender-sensor',
        config='../gaussrender/gaussrender_tpvformer-tiny_minitown.py',
        options=dict(shared, **sensor),
        baseline='tpvformer',
        claim=gaussrender,
    ),
    dict(
        name='surroundocc',
        config='../surroundocc/surroundocc-tiny_minitown.py',
        options=shared,
    ),
    dict(
        name='surroundocc+gaussrender',
        config='../gaussrender/gaussrender_surroundocc-tiny_minitown.py',
        options=shared,
        baseline='surroundocc',
        claim=gaussrender,
    ),
    dict(
        name='surroundocc+gaussrender-sensor',
        config='../gaussrender/gaussrender_surroundocc-tiny_minitown.py',
        options=dict(shared, **sensor),
        baseline='surroundocc',
        claim=gaussrender,
    ),
    # learned from 2D labels: RenderOcc is the baseline. Labels beyond the
    # volume say in all rows that their ray is free.
    dict(
        name='renderocc-1f',
        config='../renderocc/renderocc-1f_bevstereo-tiny_minitown.py',
        options=free_outside,
    ),
    dict(
        name='gsrender-1f',
        config='../gsrender/gsrender-1f_bevstereo-tiny_minitown.py',
        options=free_outside,
        baseline='renderocc-1f',
        claim=gsrender,
    ),
    dict(
        name='gsrender-2f',
        config='../gsrender/gsrender-2f_bevstereo-tiny_minitown.py',
        options=free_outside,
        baseline='gsrender-1f',
        claim=[*gsrender, 'FalseBehind'],
    ),
    dict(
        name='gsrender-2f-moving',
        config='../gsrender/gsrender-2f_bevstereo-tiny_minitown.py',
        options=moving,
        baseline='gsrender-1f',
        claim=[*gsrender, 'FalseBehind'],
    ),
    dict(
        name='gsrender-5f',
        config='../gsrender/gsrender-5f_bevstereo-tiny_minitown.py',
        options=free_outside,
        baseline='gsrender-1f',
        claim=[*gsrender, 'FalseBehind'],
    ),
    # voxel labels alone, and with 2D labels
    dict(
        name='gsrender-3d',
        config='../gsrender/gsrender-2f-2d3d_bevstereo-tiny_minitown.py',
        options=dict(shared, **{'model.render_heads': []}),
    ),
    dict(
        name='gsrender-2f-2d3d',
        config='../gsrender/gsrender-2f-2d3d_bevstereo-tiny_minitown.py',
        options=free_outside,
        baseline='gsrender-3d',
        claim=['mIoU'],
    ),
]
