# GaussRender with the sensors' own views on the tiny FB-Occ: of its recipes
# the one that gains RayIoU in so short a training, see docs/results.md.
_base_ = ['../fbocc/fbocc-tiny_minitown.py']

model = dict(
    render_heads=[
        dict(
            type='GaussRenderHead',
            # no virtual camera and no view from above: what no sensor sees
            # minutes of training do not learn
            preset='gaussrender_sensor',
            opacity='free_prob',  # 1 - p(free); or 'learned', 'hard'
        )
    ]
)
