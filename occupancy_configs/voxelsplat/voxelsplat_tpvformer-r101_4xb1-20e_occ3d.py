# VoxelSplat on TPVFormer R101: without flow, which this host does not have.
_base_ = ['../tpvformer/tpvformer-r101_4xb1-20e_occ3d.py']

model = dict(
    render_heads=[
        dict(
            type='VoxelSplatHead',
            num_samples=100_000,  # voxels drawn per sample, of 640 000
            scale=0.12,  # metres, standard deviation of a Gaussian
            semantic_weight=0.5,  # of rendered classes
            depth_weight=1.0,  # of rendered depths
        )
    ]
)
