# FB-Occ with an XL-sized InternImage: 279 million parameters in the backbone.
_base_ = ['./fbocc_r50.py']

model = dict(
    init_cfg=dict(
        checkpoint='ckpts/a-13-a_ep12.pth',  # nuScenes detection
        key_map='intern_det',
    ),
    img_backbone=dict(
        _delete_=True,
        type='InternImage',
        channels=160,  # of the first level; they double from level to level
        depths=(6, 6, 32, 6),  # blocks in each level
        # of channels, in each level; each group reads windows of its own
        groups=(10, 20, 40, 40),
        mlp_ratio=4.0,  # hidden over outer width of the MLPs
        spread=1.71,  # pixels between the nine points of a window
        layer_scale=1e-5,  # initial factor of every branch
        drop_path=0.2,  # of the last block, rising from 0 in the first
        out_indices=(2, 3),  # strides 16 and 32
        checkpoint_levels=3,  # recompute activations: half the memory
    ),
    img_neck=dict(in_channels=[640, 1280]),  # of the two levels
)
