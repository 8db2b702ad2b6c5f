# Flow without a flow label: as voxelsplat-adjacent, no loss on the flow in
# 3D, and the labels' flow is not even read.
_base_ = ['voxelsplat-adjacent_fbocc-tiny_minitown.py']

train_pipeline = [
    dict(type='LoadMultiViewImages'),
    dict(
        type='LoadOccLabels',
        label_spec={{_base_.label_spec}},
        grid={{_base_.label_grid}},
        with_flow=False,
    ),
    dict(
        type='ImageAug',
        size={{_base_.image_size}},
        resize=(-0.03, 0.05),  # added to the resize factor
        flip=True,  # each image is mirrored with probability 1/2
    ),
    # No volume augmentation: turned labels of 0.8 m have holes, and traffic
    # keeps right: where a car is says where it goes.
    # the key frame's own six cameras at 100x56
    dict(type='RenderViews', frames=(0,), scale=0.125),
    dict(type='PackOccInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(occ_head=dict(flow_loss_weight=0.0))
