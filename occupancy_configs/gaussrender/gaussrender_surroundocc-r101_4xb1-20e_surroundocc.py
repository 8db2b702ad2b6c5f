# GaussRender on SurroundOcc R101, SurroundOcc labels, the paper's recipe.
_base_ = ['../surroundocc/surroundocc-r101_4xb1-20e_surroundocc.py']

model = dict(
    render_heads=[
        dict(
            type='GaussRenderHead',
            # lambda 15, a camera elevated and moved around, true bird's eye
            preset='gaussrender_paper',
            opacity='learned',  # a three-layer MLP on the voxel features
            in_channels=32,  # of these features
        )
    ]
)
