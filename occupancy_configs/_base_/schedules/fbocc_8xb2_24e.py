# Half as long, for large backbones: 8 GPUs x 2 samples, 24 epochs.
_base_ = ['./fbocc_8xb2_48e.py']
max_epochs = 24

train_cfg = dict(max_epochs=max_epochs)
