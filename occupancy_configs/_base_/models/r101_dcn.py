# ResNet-101 in caffe's form with deformable convolutions, and a feature
# pyramid: the image side of TPVFormer and SurroundOcc.
pyramid_channels = 256

model = dict(
    type='OccDetector',
    # nuScenes detection by FCOS3D; without it:
    # --cfg-options model.init_cfg=None
    init_cfg=dict(
        type='PublicWeights',
        checkpoint='ckpts/r101_dcn_fcos3d_pretrain.pth',
        key_map='fcos3d_r101',
    ),
    data_preprocessor=dict(
        type='OccDataPreprocessor',
        mean=[123.675, 116.28, 103.53],  # of red, green, blue
        std=[1.0, 1.0, 1.0],
    ),
    img_backbone=dict(
        type='mmdet.ResNet',
        depth=101,
        num_stages=4,
        out_indices=(1, 2, 3),  # strides 8, 16, 32
        frozen_stages=1,
        norm_cfg=dict(type='BN2d', requires_grad=False),
        norm_eval=True,
        style='caffe',
        dcn=dict(type='ModulatedDeformConv', deform_groups=1),
        stage_with_dcn=(False, False, True, True),
        with_cp=True,  # recompute activations: half the memory
    ),
    img_neck=dict(
        type='mmdet.FPN',
        in_channels=[512, 1024, 2048],
        out_channels=pyramid_channels,
        num_outs=4,
        add_extra_convs='on_output',  # stride 64
    ),
)
