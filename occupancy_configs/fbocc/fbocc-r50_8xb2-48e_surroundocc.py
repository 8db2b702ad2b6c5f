# FB-Occ R50 on SurroundOcc labels: LiDAR frame, 0.5 m, occupancy alone.
_base_ = [
    '../_base_/datasets/surroundocc_nuscenes.py',
    '../_base_/models/fbocc_r50.py',
    '../_base_/schedules/fbocc_8xb2_48e.py',
    '../_base_/runtime.py',
]

# half the labels' resolution
volume_grid = dict(range=(-50, -50, -5, 50, 50, 3), shape=(100, 100, 8))

model = dict(
    lifter=dict(grid=volume_grid),
    history=dict(grid=volume_grid),
    occ_head=dict(with_flow=False),
)
