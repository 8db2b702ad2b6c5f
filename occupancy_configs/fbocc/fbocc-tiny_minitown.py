# A small FB-Occ for two CPU cores on MiniTown: the tiny baseline.
_base_ = [
    '../_base_/datasets/openocc_minitown.py',
    '../_base_/models/fbocc_tiny.py',
    '../_base_/schedules/tiny.py',
    '../_base_/runtime.py',
]

model = dict(occ_head=dict(class_counts={{_base_.class_counts}}))
# depths and classes of pixels, from depth-semantics_fbocc-tiny_minitown.py
load_from = '{{ fileDirname }}/../pretrain/depth-semantics_fbocc-tiny_minitown.safetensors'
