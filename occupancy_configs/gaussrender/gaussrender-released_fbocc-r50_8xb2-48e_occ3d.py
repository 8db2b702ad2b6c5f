# GaussRender on FB-Occ R50 and Occ3D labels, the released code's recipe.
_base_ = ['../fbocc/fbocc-r50_8xb2-48e_occ3d.py']

model = dict(
    render_heads=[
        dict(
            type='GaussRenderHead',
            # lambda 10, a sensor's own view, a pinhole from above
            preset='gaussrender_released',
            scale=0.27,  # metres, standard deviation of a Gaussian
            opacity='learned',  # a three-layer MLP on the voxel features
            in_channels=128,  # of these features
        )
    ]
)
