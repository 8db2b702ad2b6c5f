"""Pre-training configs: the host's own parts, which it takes back."""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate

from occsplat.engine import (
    ConfigError,
    check_config,
    load_config,
    read_weights,
)
from occsplat.engine.weight_fit import load_what_fits

ROOT = Path(__file__).parents[1] / 'occupancy_configs'
#: pre-training configs, and the host that each is for
HOSTS = {
    'depth-semantics_fbocc-tiny_minitown': 'fbocc/fbocc-tiny_minitown',
    'depth-semantics_bevstereo-tiny_minitown': (
        'bevstereo/bevstereo-tiny_minitown'
    ),
    'depth-semantics_fbocc-r50_8xb8-24e_nuscenes': (
        'fbocc/fbocc-r50_8xb2-48e_openocc'
    ),
    'depth-semantics_bevstereo-swin-b_32xb2-24e_nuscenes': (
        'bevstereo/bevstereo-swin-b_32xb1-24e_occ3d'
    ),
}
TINY = [name for name in HOSTS if 'tiny' in name]


def load(name):
    return load_config(ROOT / 'pretrain' / f'{name}.py')


def host_of(name):
    return load_config(ROOT / f'{HOSTS[name]}.py')


def batch(cfg, root, split='train'):
    dataset = cfg[f'{split}_dataloader'].dataset
    dataset.data_root = str(root)
    return pseudo_collate([DATASETS.build(dataset)[1]])


def test_every_config_is_tested():
    assert {p.stem for p in (ROOT / 'pretrain').glob('*.py')} == set(HOSTS)


@pytest.mark.parametrize('name', HOSTS)
def test_the_encoder_is_the_hosts(name):
    cfg, host = load(name), host_of(name)
    check_config(cfg)
    assert cfg.model.img_neck == host.model.img_neck
    cfg.model.img_backbone.pop('init_cfg', None)
    assert cfg.model.img_backbone == host.model.img_backbone
    # what would be done to volumes learns nothing
    host.model.lifter.update(
        dict(num_frames=1, pre_process=False)
        if host.model.lifter.type == 'StereoLifter'
        else dict(backward=None)
    )
    cfg.model.lifter.setdefault('backward', None)
    host.model.lifter.setdefault('backward', None)
    assert cfg.model.lifter == host.model.lifter
    sizes = [
        step.size
        for c in (cfg, host)
        for loader in ('train_dataloader', 'val_dataloader')
        for step in c[loader].dataset.pipeline
        if step.type == 'ImageAug'
    ]
    assert len(sizes) == 4 and len(set(map(tuple, sizes))) == 1
    steps = cfg.train_dataloader.dataset.pipeline
    # no voxel label, no point cloud
    assert not {'LoadOccLabels', 'LoadLidarPoints'} & {s.type for s in steps}


def test_labels_of_pixels_have_no_grid():
    """Whatever volume the host lifts into, whatever its labels."""
    cfg = load(TINY[0])
    cfg.model.label_spec = 'occ3d'
    with pytest.raises(ConfigError, match="label_spec is 'occ3d'"):
        check_config(cfg)
    cfg.labels.label_spec = 'occ3d'
    cfg.model.lifter.grid.range = (-50, -50, -5, 50, 50, 3)
    for node in (
        *(cfg[f'{s}_dataloader'].dataset for s in ('train', 'val', 'test')),
        *(s for s in cfg.train_dataloader.dataset.pipeline),
        *(s for s in cfg.val_dataloader.dataset.pipeline),
        *(s for s in cfg.test_dataloader.dataset.pipeline),
        *cfg.val_evaluator,
        *cfg.test_evaluator,
    ):
        if 'label_spec' in node:
            node.label_spec = 'occ3d'
    check_config(cfg)


@pytest.mark.parametrize('name', [n for n in HOSTS if n not in TINY])
def test_the_rate_belongs_to_the_batch(name):
    cfg = load(name)
    gpus, size = name.split('_')[2].split('-')[0].split('xb')
    assert int(size) == cfg.train_dataloader.batch_size
    assert int(gpus) * int(size) == cfg.auto_scale_lr.base_batch_size == 64


def step(model, data):
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    return losses


@pytest.mark.parametrize('name', TINY)
def test_tiny_configs_learn_a_frame_and_predict(name, minitown_lidar2d):
    cfg = load(name)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = batch(cfg, minitown_lidar2d)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(6):
        optimizer.zero_grad()
        losses = step(model, data)
        # DistributedDataParallel stops at parameters that no loss reaches
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        history.append([float(value) for value in losses.values()])
    for first, last in zip(history[0], history[-1]):
        assert last < 0.9 * first
    data = batch(cfg, minitown_lidar2d, 'val')
    height, width = data['inputs']['imgs'][0].shape[-2:]
    cells = (6, height // 8, width // 8)
    (sample,) = model.eval().test_step(data)
    assert sample.pred_depth.shape == cells
    bins = cfg.model.lifter.depth_bins
    assert (sample.pred_depth > bins.start).all()
    assert (sample.pred_depth < bins.stop).all()
    assert sample.pred_pixel_semantics.shape == cells


@pytest.mark.parametrize('name', TINY)
def test_a_host_takes_the_checkpoint(name, minitown_lidar2d):
    cfg, host_cfg = load(name), host_of(name)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    data = batch(cfg, minitown_lidar2d)
    step(model, data)
    torch.optim.AdamW(model.parameters(), lr=2e-3).step()
    torch.manual_seed(1)
    host = MODELS.build(host_cfg.model)
    state = model.state_dict()
    load_what_fits(host, state, 'pretrained.pth')
    own = host.state_dict()
    encoder = ('img_backbone.', 'img_neck.', 'lifter.depth_net.')
    for key in own:
        if key.startswith(encoder):
            assert torch.equal(own[key], state[key]), key
    left = set(state) - set(own)
    assert left == {'semantic_head.weight', 'semantic_head.bias'}
    frames = host.lifter.num_frames + host.lifter.stereo
    data = model.data_preprocessor(data)
    samples, imgs = data['data_samples'], data['inputs']['imgs']
    with torch.no_grad():
        depth = model.eval()(data['inputs'], samples).depth
        # a host that lifts more frames than one reads older ones, too
        place = list(range(imgs.shape[1])) + [-1] * (frames - imgs.shape[1])
        features = host.eval().image_encoder(imgs[:, place])
        rig = samples[0].rig[None][:, place]
        assert torch.equal(host.lifter(features, rig)[1], depth)


@pytest.mark.parametrize(
    'path',
    [
        *sorted(ROOT.glob('fbocc/*tiny*.py')),
        *sorted(ROOT.glob('bevstereo/*tiny*.py')),
    ],
    ids=lambda path: path.stem,
)
def test_what_is_frozen_comes_whole_with_the_repository(path):
    cfg = load_config(path)
    assert Path(cfg.load_from).parent.resolve() == ROOT / 'pretrain'
    weights = read_weights(cfg.load_from)['state_dict']
    host = MODELS.build(cfg.model).state_dict()
    parts = {key.split('.')[0] for key in host}
    assert set(cfg.model.frozen) <= parts
    for key, value in host.items():
        if key.split('.')[0] in cfg.model.frozen:
            assert weights[key].shape == value.shape, key
            assert weights[key].isfinite().all(), key


@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n in HOSTS if n not in TINY])
def test_full_size_configs_step_on_small_images(name, minitown_lidar2d):
    cfg = load(name)
    cfg.model.init_cfg = None  # needs a public file
    cfg.model.img_backbone.init_cfg = None
    if 'swin' in name:
        cfg.model.img_backbone.depths = (1, 1, 1, 1)
    for split in ('train', 'val'):
        for part in cfg[f'{split}_dataloader'].dataset.pipeline:
            if part.type == 'ImageAug':
                part.size = (320, 64)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    losses = step(model, batch(cfg, minitown_lidar2d))
    assert all(value.isfinite() and value > 0 for value in losses.values())
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    with torch.no_grad():
        data = batch(cfg, minitown_lidar2d, 'val')
        (sample,) = model.eval().test_step(data)
    assert sample.pred_depth.shape == (6, 4, 20)
