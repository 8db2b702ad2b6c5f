# Occ3D labels of MiniTown, pooled to 0.8 m.
_base_ = ['./minitown.py']
labels = dict(
    label_spec='occ3d',
    grid=dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8)),
)
