# Two heads on the tiny FB-Occ: VoxelSplat between key frames, and
# GaussRender at a fifth of its weight, see docs/bench.md.
_base_ = ['../voxelsplat/voxelsplat-adjacent_fbocc-tiny_minitown.py']

model = dict(
    render_heads=[
        *_base_.model.render_heads,
        dict(
            type='GaussRenderHead',
            preset='gaussrender_paper',
            opacity='free_prob',
            weight=3.0,  # of its losses, in place of the paper's 15
        ),
    ]
)
