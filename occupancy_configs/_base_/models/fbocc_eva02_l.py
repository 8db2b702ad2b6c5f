# FB-Occ with EVA-02-L in place of ResNet-50, without a neck.
_base_ = ['./fbocc_r50.py']

model = dict(
    # to train without: --cfg-options model.init_cfg=None
    init_cfg=dict(
        checkpoint='ckpts/eva02_L_coco_det_sys_o365_remapped.pth',
        key_map='eva02_det',
    ),
    img_backbone=dict(
        _delete_=True,
        type='EVA02',
        dims=1024,  # channels
        depth=24,  # blocks
        num_heads=16,  # of attention, 64 channels each
        window=16,  # patches of 16 pixels
        global_window=40,  # in every third block: the height of the image
        window_blocks=(
            *(0, 1, 3, 4, 6, 7, 9, 10),
            *(12, 13, 15, 16, 18, 19, 21, 22),
        ),
        drop_path=0.3,  # of the last block, rising from 0 in the first
        with_cp=True,  # recompute activations: a fraction of the memory
    ),
    img_neck=None,
    lifter=dict(in_channels=1024),
)
