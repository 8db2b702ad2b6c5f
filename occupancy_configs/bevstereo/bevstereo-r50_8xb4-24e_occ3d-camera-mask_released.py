# BEVDet-Occ R50 with the network and the conventions of its published
# weights, for a checkpoint of tools/convert_checkpoint.py --from
# bevdet-occ-r50-4d-stereo. To train anew, take
# bevstereo-r50_8xb4-24e_occ3d-camera-mask.py.
_base_ = ['./bevstereo-r50_8xb4-24e_occ3d-camera-mask.py']

model = dict(
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
# the score of its authors
camera_miou = dict(type='OccIoUMetric', mask='camera')
val_evaluator = [camera_miou]
test_evaluator = [camera_miou]

test_pipeline = [
    dict(step, pose_of='CAM_FRONT_LEFT')
    if step['type'] == 'LoadMultiViewImages'
    else dict(step, resampling='pillow')
    if step['type'] == 'ImageAug'
    else step
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
