# GaussRender on the tiny SurroundOcc: minutes on two CPU cores.
_base_ = ['../surroundocc/surroundocc-tiny_minitown.py']

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
