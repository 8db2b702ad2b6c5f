# A small BEVStereo for MiniTown and two CPU cores. The parts are
# BEVStereo's, with few channels, but for what a short training needs (see
# fbocc_tiny.py):
# - depths and classes are learned in a pre-training, see ../../pretrain, and
#   then only read;
# - the lifted volumes hold means, not sums, and no block that would learn
#   stands between the depth net and what is remembered of it;
# - a 2D network over bird's-eye views stands in for the 3D one.
_base_ = ['./image_tiny.py']
volume_grid = dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8))
volume_channels = 20  # of each frame
num_frames = 2  # lifted; one more key frame is there to be matched with

model = dict(
    frozen=('img_backbone', 'img_neck', 'lifter'),
    remember=400,  # samples, 6.4 MB each
    # stride 4 to be matched; 8 and 16 lifted, at 8
    img_backbone=dict(out_indices=(0, 1, 2)),
    lifter=dict(
        type='StereoLifter',
        in_channels=64,
        channels=volume_channels,
        grid=volume_grid,
        mid_channels=64,  # width of the depth net
        depth_bins=dict(start=2.0, stop=42.0, step=1.0),  # metres
        num_frames=num_frames,
        stereo=True,
        cost_strides=(2, 1),  # from stride 4 to 8
        pooling='mean',
        pre_process=False,
        depth_weight=0,  # learned before
        norm_cfg={{_base_.norm}},
    ),
    volume_encoder=dict(
        type='BEVEncoder',
        in_channels=volume_channels * num_frames,
        height=volume_grid['shape'][2],
        channels=(64, 96, 128, 128),
        out_channels=16,
        norm_cfg={{_base_.norm}},
    ),
    occ_head=dict(
        type='MLPOccHead',
        grid=volume_grid,
        in_channels=16,
        channels=16,
        hidden_channels=32,
    ),
)
# depths and classes of pixels; the config that taught them has this name
load_from = (
    '{{ fileDirname }}/../../pretrain/'
    'depth-semantics_bevstereo-tiny_minitown.safetensors'
)
