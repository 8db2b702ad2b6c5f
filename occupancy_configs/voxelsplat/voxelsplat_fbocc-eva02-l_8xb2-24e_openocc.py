# VoxelSplat on FB-Occ EVA-02-L: the baseline plus the render head.
_base_ = ['../fbocc/fbocc-eva02-l_8xb2-24e_openocc.py']

model = dict(
    render_heads=[
        dict(
            type='VoxelSplatHead',
            num_samples=100_000,  # voxels drawn per sample, of 640 000
            scale=0.12,  # metres, standard deviation of a Gaussian
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
