# What the published networks of BEVDet's family have that ours have not, for
# configs that run their weights. See docs/model_zoo.md.
released_model = dict(
    # statistics of red and blue went to the other one
    data_preprocessor=dict(
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
    ),
    lifter=dict(
        landing=dict(
            cells='edges',  # the outer cells stand on the image's border
            depths='starts',  # a bin stands where it begins
            voxels='truncate',  # one layer below the grid falls into it
        ),
        unseen_where='zero',  # a channel of the other frame's map
        pyramid_channels=96,  # of the depth net
        pre_process_shortcut='conv',
    ),
    volume_encoder=dict(
        backbone=dict(stem=False, shortcut_kernel=3),
        neck=dict(align_corners=True),
    ),
)
# by type, what the steps of the test pipeline are told
released_steps = dict(
    LoadMultiViewImages=dict(pose_of='CAM_FRONT_LEFT'),
    ImageAug=dict(resampling='pillow'),
)
# the score of their authors
released_evaluator = [dict(type='OccIoUMetric', mask='camera')]
