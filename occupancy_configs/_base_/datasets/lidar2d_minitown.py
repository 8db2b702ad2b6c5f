# MiniTown with 2D labels for training: classes and depths of the pixels
# that LiDAR returns fall into. No voxel label is read but to score.
_base_ = ['./occ3d_minitown_3frames.py']

train_pipeline = [
    step
    for step in _base_.train_pipeline
    if step['type'] not in ('LoadOccLabels', 'RenderViews')
]
train_dataloader = dict(
    dataset=dict(
        pipeline=train_pipeline,
        extra_transforms=[
            dict(
                type='LoadPixelLabels',
                frames=(0,),  # key frames; more of them: ray compensation
                scale=0.125,  # of the raw images, one label per pixel
                max_depth=52.0,  # metres
            )
        ],
    )
)
