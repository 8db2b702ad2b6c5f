# FB-Occ R50 on OpenOcc labels, occupancy and flow: the baseline.
_base_ = [
    '../_base_/datasets/openocc_nuscenes.py',
    '../_base_/models/fbocc_r50.py',
    '../_base_/schedules/fbocc_8xb2_48e.py',
    '../_base_/runtime.py',
]
