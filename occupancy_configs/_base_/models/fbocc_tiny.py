# A small FB-Occ for MiniTown and two CPU cores. The parts are FB-Occ's, with
# few channels, but for what a short training needs:
# - depths and classes are learned in a pre-training, see ../../pretrain, and
#   then only read;
# - the lifted volume holds means, not sums, and no backward projection is
#   added, whose queries are alike in all frames;
# - the history is short, and sees streams that take turns: frames that
#   follow one another are alike and teach little;
# - a 2D network over bird's-eye views stands in for the 3D one;
# - a balanced cross-entropy stands in for focal and affinity losses.
_base_ = ['./image_tiny.py']
volume_grid = dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8))
volume_channels = 20

model = dict(
    frozen=('img_backbone', 'img_neck', 'lifter'),
    remember=400,  # samples, 3.2 MB each
    lifter=dict(
        type='FBOccLifter',
        in_channels=64,
        channels=volume_channels,
        grid=volume_grid,
        mid_channels=64,  # width of the depth net
        depth_bins=dict(start=2.0, stop=42.0, step=1.0),  # metres
        pooling='mean',
        depth_weight=0,  # learned before
        norm_cfg={{_base_.norm}},
    ),
    history=dict(
        type='StreamingHistory',
        channels=volume_channels,
        grid=volume_grid,
        num_frames=2,
        turns=8,  # streams that take turns, as the sampler's
        norm_cfg={{_base_.norm}},
    ),
    volume_encoder=dict(
        type='BEVEncoder',
        in_channels=volume_channels,
        height=volume_grid['shape'][2],
        channels=(64, 96, 128, 128),
        out_channels=24,
        norm_cfg={{_base_.norm}},
    ),
    occ_head=dict(
        type='OccHead',
        num_levels=1,
        in_channels=24,
        channels=24,
        hidden_channels=24,
        upsample=1,  # the volume has the labels' resolution
        level_kernel=1,
        # against those of the render heads, which were found beside FB-Occ's
        loss_weights=dict(
            focal=0, sem_scal=0, geo_scal=0, lovasz=5.0, cross_entropy=5.0
        ),
        flow_loss_weight=1.5,
        norm_cfg={{_base_.norm}},
    ),
)
