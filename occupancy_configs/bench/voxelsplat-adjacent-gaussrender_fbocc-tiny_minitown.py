# Two heads on the tiny FB-Occ: VoxelSplat between key frames, and
# GaussRender with the sensors' own views, the better of its recipes on the
# bench, see docs/results.md.
_base_ = ['../voxelsplat/voxelsplat-adjacent_fbocc-tiny_minitown.py']

model = dict(
    render_heads=[
        *_base_.model.render_heads,
        dict(
            type='GaussRenderHead',
            preset='gaussrender_sensor',
            opacity='free_prob',
        ),
    ]
)
