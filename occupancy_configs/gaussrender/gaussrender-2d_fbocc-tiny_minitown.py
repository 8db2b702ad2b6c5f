# GaussRender as the only occupancy loss: no voxel of the labels is looked at
# but in images.
_base_ = ['../fbocc/fbocc-tiny_minitown.py']

model = dict(
    occ_head=dict(
        # no loss in 3D; the flow loss stays
        loss_weights=dict(lovasz=0.0, cross_entropy=0.0),
        opacity_threshold=0.1,  # 1 - p(free) from which a voxel is something
    ),
    render_heads=[
        dict(
            type='GaussRenderHead',
            # the paper's best without 3D losses: the sensors' own views
            views=(
                dict(type='CameraViews', strategy='sensor', count=6),
                dict(type='PlaneView'),
            ),
        )
    ],
)
