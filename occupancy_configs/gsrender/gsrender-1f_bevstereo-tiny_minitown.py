# GSRender without ray compensation, on the tiny BEVStereo: 2D labels alone.
_base_ = [
    '../_base_/datasets/lidar2d_minitown.py',
    '../_base_/models/bevstereo_tiny.py',
    '../_base_/schedules/tiny_20e.py',
    '../_base_/runtime.py',
]

model = dict(
    occ_head=dict(
        _delete_=True,
        type='GaussianOccHead',
        in_channels=16,
        channels=16,
        hidden_channels=32,
        opacity_threshold=0.5,  # tau; tools/calibrate_threshold.py finds it
        # In so short a training what can move or grow does not learn to be
        # transparent: opacities stay alike, and equation 7 finds nothing.
        max_offset=0.5,  # voxels of 0.8 m; the paper's 1.2 m would be 1.5
        with_scale=False,  # half a voxel
    ),
    render_heads=[
        dict(
            type='GSRenderHead',
        )
    ],
)
