# SurroundOcc labels of MiniTown, pooled to 1 m.
_base_ = ['./minitown.py']
labels = dict(
    label_spec='surroundocc',
    grid=dict(range=(-50, -50, -5, 50, 50, 3), shape=(100, 100, 8)),
)
