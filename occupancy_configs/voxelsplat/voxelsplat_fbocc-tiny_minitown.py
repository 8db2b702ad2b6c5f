# VoxelSplat on the tiny FB-Occ: minutes on two CPU cores.
_base_ = ['../fbocc/fbocc-tiny_minitown.py']

model = dict(
    render_heads=[
        dict(
            type='VoxelSplatHead',
            num_samples=12_000,  # voxels drawn per sample, of 80 000
            scale=0.3,  # metres, standard deviation of a Gaussian
            motion=dict(
                type='LabelMotion',
                move_seconds=1.0,  # how far the moved state looks ahead
            ),
            semantic_weight=0.5,  # of rendered classes, in both states
            depth_weight=1.0,  # of rendered depths, in both states
            flow_weight=0.5,  # of rendered flow
        )
    ]
)
