# BEVDet for occupancy: BEVStereo without a past, so one frame and no sweep.
_base_ = ['./bevstereo_r50.py']

model = dict(
    img_backbone=dict(out_indices=(2, 3)),
    lifter=dict(num_frames=1, stereo=False),
    volume_encoder=dict(backbone=dict(in_channels=32)),
)
