# GSRender without ray compensation, on BEVStereo Swin-B: 2D labels alone.
_base_ = [
    '../_base_/datasets/lidar2d_nuscenes_512x1408.py',
    '../_base_/models/bevstereo_swin_b.py',
    '../_base_/schedules/gsrender_8xb2_12e.py',
    '../_base_/runtime.py',
]

model = dict(
    occ_head=dict(
        _delete_=True,
        type='GaussianOccHead',
        in_channels=32,
        opacity_threshold=0.5,  # tau; tools/calibrate_threshold.py finds it
        max_offset=3.0,  # voxels; 0: none, float('inf'): no bound
        with_scale=True,
        with_rotation=False,  # the paper finds that rotations hurt
        # weights of losses with voxel labels, for 2D + 3D training
        loss_weights=dict(geometry=0.0, semantic=0.0),
    ),
    render_heads=[
        dict(
            type='GSRenderHead',
            level='feature',  # ray compensation; 'logits': cameras alone
            frame_weight=0.8,  # omega, of each neighbouring frame
            dynamic_weight=0.1,  # alpha, of movable things there
            dynamic='class',  # 'instance': of what really moves
            depth='accumulated',  # 'expected': divided by the opacity
            variance_focus=0.85,  # of the depth loss; 1 forgives any scale
        )
    ],
)
