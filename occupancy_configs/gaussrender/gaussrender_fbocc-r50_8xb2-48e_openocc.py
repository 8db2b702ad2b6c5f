# GaussRender on FB-Occ R50, the recipe of the paper.
_base_ = ['../fbocc/fbocc-r50_8xb2-48e_openocc.py']

model = dict(
    render_heads=[
        dict(
            type='GaussRenderHead',
            # lambda 15, a camera elevated and moved around, true bird's eye
            preset='gaussrender_paper',
            opacity='free_prob',  # 1 - p(free); or 'learned', 'hard'
        )
    ]
)
