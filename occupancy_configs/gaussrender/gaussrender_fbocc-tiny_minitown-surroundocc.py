# GaussRender on the tiny FB-Occ and MiniTown's SurroundOcc labels.
_base_ = ['../fbocc/fbocc-tiny_minitown-surroundocc.py']

model = dict(
    render_heads=[
        dict(
            type='GaussRenderHead',
            # a camera elevated and moved around, and the view from above
            preset='gaussrender_paper',
            opacity='free_prob',  # 1 - p(free); or 'learned', 'hard'
        )
    ]
)
