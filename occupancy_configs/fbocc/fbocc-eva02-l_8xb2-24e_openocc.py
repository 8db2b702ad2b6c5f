# FB-Occ EVA-02-L on OpenOcc labels, images 640x1600: the large baseline.
_base_ = [
    '../_base_/datasets/openocc_nuscenes_640x1600.py',
    '../_base_/models/fbocc_eva02_l.py',
    '../_base_/schedules/fbocc_eva02_8xb2_24e.py',
    '../_base_/runtime.py',
]
