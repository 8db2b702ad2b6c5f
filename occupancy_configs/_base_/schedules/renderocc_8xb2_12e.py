# RenderOcc's recipe: 8 GPUs x 2 samples, 12 epochs, BEVStereo's rate.
_base_ = ['./bevstereo_24e.py']
max_epochs = 12

train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=16)
