# Flow without a flow label: as voxelsplat-adjacent, no loss on the flow in
# 3D, and the labels' flow is not even read.
_base_ = ['voxelsplat-adjacent_fbocc-tiny_minitown.py']

train_pipeline = [
    dict(step, with_flow=False) if step['type'] == 'LoadOccLabels' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(occ_head=dict(flow_loss_weight=0.0))
