# FB-Occ R50 with the conventions that its published weights learned by, for
# a checkpoint of tools/convert_checkpoint.py --from fbocc-r50. To train
# anew, take fbocc-r50_16xb4-20e_occ3d.py.
_base_ = ['./fbocc-r50_16xb4-20e_occ3d.py']

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
        backward=dict(
            unseen_anchors='count',  # of a pillar that a camera sees
            depth_padding='zeros',  # beyond the depth map
        ),
    ),
    # warped again and again, from copies of the first volume on
    history=dict(type='RewarpedHistory'),
)

test_pipeline = [
    dict(step, pose_of='CAM_FRONT')
    if step['type'] == 'LoadMultiViewImages'
    else dict(step, resampling='pillow')
    if step['type'] == 'ImageAug'
    else step
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
