# The image side of the small networks: one map of stride 8. Its weights come
# from a pre-training, see ../../pretrain.
# one sample per step is too little for batch statistics
norm = dict(type='GN', num_groups=4)

model = dict(
    type='OccDetector',
    data_preprocessor=dict(type='OccDataPreprocessor'),
    img_backbone=dict(
        type='mmdet.ResNet',
        depth=18,
        base_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(1, 2),  # strides 8 and 16
        norm_cfg=norm,
        norm_eval=False,
        style='pytorch',
    ),
    img_neck=dict(type='SingleMapFPN', in_channels=[64, 128], out_channels=64),
)
# depths and classes of pixels; the config that taught them has this name
load_from = (
    '{{ fileDirname }}/../../pretrain/'
    'depth-semantics_fbocc-tiny_minitown.safetensors'
)
