# Two heads on the tiny FB-Occ: VoxelSplat between key frames, and
# GaussRender at a fifth of its weight, see docs/bench.md.
_base_ = ['../voxelsplat/voxelsplat-adjacent_fbocc-tiny_minitown.py']

model = dict(
    render_heads=[
        # as in the base config: a list of heads replaces the one before
        dict(
            type='VoxelSplatHead',
            motion=dict(
                type='AdjacentMotion',
                in_channels=24,
                sampling_exponent=1.0,
                above=[dict(type='PlaneView')],
            ),
            num_samples=6_000,
            scale=0.3,
            semantic_weight=0.5,
            depth_weight=0.0,
            alpha_weight=1.0,
            flow_weight=1.0,
        ),
        dict(
            type='GaussRenderHead',
            preset='gaussrender_paper',
            opacity='free_prob',
            weight=3.0,  # of its losses, in place of the paper's 15
        ),
    ]
)
