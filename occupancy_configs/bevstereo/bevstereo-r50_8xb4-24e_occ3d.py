# BEVStereo R50 on Occ3D labels, seen by a camera or not; images 256x704.
_base_ = [
    '../_base_/datasets/occ3d_nuscenes_3frames.py',
    '../_base_/models/bevstereo_r50.py',
    '../_base_/schedules/bevstereo_24e.py',
    '../_base_/runtime.py',
]
