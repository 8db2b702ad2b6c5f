# BEVStereo Swin-B on Occ3D labels, seen by a camera or not; images 512x1408.
_base_ = [
    '../_base_/datasets/occ3d_nuscenes_3frames_512x1408.py',
    '../_base_/models/bevstereo_swin_b.py',
    '../_base_/schedules/bevstereo_24e.py',
    '../_base_/runtime.py',
]
