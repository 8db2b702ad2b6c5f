# FB-Occ with InternImage-XL on OpenOcc labels, images 640x1600.
_base_ = [
    '../_base_/datasets/openocc_nuscenes_640x1600.py',
    '../_base_/models/fbocc_internimage_xl.py',
    '../_base_/schedules/fbocc_8xb2_24e.py',
    '../_base_/runtime.py',
]
