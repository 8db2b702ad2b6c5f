# RenderOcc's head with one frame, on host, labels and recipe of GSRender.
_base_ = [
    '../_base_/datasets/lidar2d_nuscenes_512x1408.py',
    '../_base_/models/bevstereo_swin_b.py',
    '../_base_/schedules/gsrender_8xb2_12e.py',
    '../_base_/runtime.py',
]

model = dict(
    occ_head=dict(
        _delete_=True,
        type='DensityOccHead',
        in_channels=32,
        opacity_threshold=0.5,  # of a voxel; RenderOcc's density is no match
    ),
    render_heads=[
        dict(
            type='NeRFRenderHead',
            entropy_weight=0.01,  # of the light that gets through
            distortion_weight=0.01,  # of how far a ray's weights lie apart
        )
    ],
)
