# VoxelSplat as the paper tells it, on FB-Occ R50: what moves is compared
# with the labels of the key frames before and after.
_base_ = ['../fbocc/fbocc-r50_8xb2-48e_openocc.py']

train_dataloader = dict(
    dataset=dict(
        extra_transforms=[
            dict(
                type='LoadAdjacentFrames',
                frames=(-1, 1),  # key frames, half a second each
                scale=0.25,  # of the raw images, as the render views
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
                in_channels=128,  # of the occupancy head's features
                sampling_exponent=1.0,  # t: 0 every voxel, 1 every group alike
                above=[dict(type='PlaneView')],  # moved things from above
                border=5.0,  # metres: nearer to the edge, labels may be new
            ),
            # occupied voxels drawn per sample; to balance them by counts of
            # the training split instead of the frame's own, add
            # statistics='data/nuscenes/openocc_statistics_train.json'
            num_samples=40_000,
            scale=0.12,  # metres, standard deviation of a Gaussian
            views_per_step=12,  # cameras a state, of 36 now and 6 then
            semantic_weight=0.5,
            depth_weight=1.0,
            alpha_weight=0.0,  # above 0: opacities are compared, too
            flow_weight=0.5,  # of the moved states
        )
    ]
)
