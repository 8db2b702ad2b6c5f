# Both of VoxelSplat's motions on the tiny FB-Occ: between key frames, from
# which classes gain most on the bench, and with the labels' flow, from which
# speeds do, see docs/results.md.
_base_ = ['../voxelsplat/voxelsplat-adjacent_fbocc-tiny_minitown.py']

model = dict(
    render_heads=[
        *_base_.model.render_heads,
        dict(
            type='VoxelSplatHead',
            motion=dict(type='LabelMotion', move_seconds=1.0),
            num_samples=12_000,
            scale=0.3,
            semantic_weight=0.5,
            depth_weight=1.0,
            flow_weight=0.5,
        ),
    ]
)
