# RenderOcc's head with one frame, on host, labels and recipe of GSRender.
_base_ = [
    '../_base_/datasets/lidar2d_minitown.py',
    '../_base_/models/bevstereo_tiny.py',
    '../_base_/schedules/tiny_20e.py',
    '../_base_/runtime.py',
]

model = dict(
    occ_head=dict(
        _delete_=True,
        type='DensityOccHead',
        in_channels=16,
        channels=16,
        hidden_channels=32,
        opacity_threshold=0.5,  # of a voxel; tools/calibrate_threshold.py
    ),
    render_heads=[
        dict(
            type='NeRFRenderHead',
        )
    ],
)
