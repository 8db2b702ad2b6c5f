# OpenOcc labels; trained on three towns, scored on a fourth.
_base_ = ['./openocc_minitown.py', './bench_towns.py']

train_dataloader = dict(dataset=_base_.train_towns)
val_dataloader = dict(dataset=_base_.val_town)
test_dataloader = val_dataloader
