# FB-Occ R50 on Occ3D labels, occupancy alone.
_base_ = [
    '../_base_/datasets/occ3d_nuscenes.py',
    '../_base_/models/fbocc_r50.py',
    '../_base_/schedules/fbocc_8xb2_48e.py',
    '../_base_/runtime.py',
]

model = dict(occ_head=dict(with_flow=False))
