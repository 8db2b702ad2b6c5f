# VoxelSplat as the paper tells it, on the tiny FB-Occ: what moves is
# compared with the labels of the key frames before and after.
_base_ = ['../fbocc/fbocc-tiny_minitown.py']

train_dataloader = dict(
    dataset=dict(
        extra_transforms=[
            dict(
                type='LoadAdjacentFrames',
                frames=(-1, 1),  # key frames, half a second each
                scale=0.125,  # of the raw images, as the render views
            )
        ]
    )
)
model = dict(
    render_heads=[
        dict(
            type='VoxelSplatHead',
            motion=dict(
                type='AdjacentMotion',
                in_channels=24,  # of the occupancy head's features
                sampling_exponent=1.0,  # t: 0 every voxel, 1 every group alike
                above=[dict(type='PlaneView')],  # moved things from above
            ),
            num_samples=6_000,  # occupied voxels drawn per sample
            scale=0.3,  # metres, standard deviation of a Gaussian
            semantic_weight=0.5,
            # opacities in place of depths: flow follows them better here
            depth_weight=0.0,
            alpha_weight=1.0,
            flow_weight=1.0,  # of the moved states
        )
    ]
)
