# BEVStereo with Swin-B in place of ResNet-50, as published.
_base_ = ['./bevstereo_r50.py']

model = dict(
    # to train without: --cfg-options model.init_cfg=None
    init_cfg=dict(
        checkpoint='ckpts/swin_base_patch4_window12_384_22k.pth',
        key_map='swin_imagenet',
    ),
    img_backbone=dict(
        _delete_=True,
        type='StereoSwin',
        embed_dims=128,  # channels of the first stage; they double
        depths=(2, 2, 18, 2),  # blocks in each stage
        num_heads=(4, 8, 16, 32),  # of attention, in each stage
        window_size=12,  # patches of 4, 8, 16 and 32 pixels
        drop_path_rate=0.1,  # of the last block, rising from 0 in the first
        out_indices=(0, 2, 3),  # stride 4 to be matched, 16 and 32 lifted
        with_cp=True,  # recompute activations: a fraction of the memory
    ),
    img_neck=dict(
        _delete_=True,
        type='LSSFPN',
        in_channels=[512, 1024],
        out_channels=512,
    ),
    lifter=dict(in_channels=512, mid_channels=512),
)
