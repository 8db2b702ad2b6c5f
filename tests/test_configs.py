"""Every config: it builds, and a method is its baseline plus its head."""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from occsplat.engine import load_config

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path
    for path in (ROOT / 'occupancy_configs').glob('*/*.py')
    # neither parts of configs nor rows of a comparison
    if not {'_base_', 'bench'} & set(path.parts)
)
FULL_SIZE = 'voxelsplat/voxelsplat_fbocc-r50_8xb2-48e_openocc.py'
TINY = 'voxelsplat/voxelsplat_fbocc-tiny_minitown.py'
#: FB-Occ with all that it has as published, which the tiny one has not
PUBLISHED = '../tests/small_fbocc_config.py'
#: what a method may add to its baseline's model
HEADS = ('render_heads', 'offset_head')
PAIRS = [
    ('fbocc/fbocc-r50_8xb2-48e_openocc.py', FULL_SIZE),
    ('fbocc/fbocc-tiny_minitown.py', TINY),
    *(
        (f'fbocc/{host}.py', f'voxelsplat/voxelsplat-adjacent_{host}.py')
        for host in ('fbocc-r50_8xb2-48e_openocc', 'fbocc-tiny_minitown')
    ),
    (
        'fbocc/fbocc-eva02-l_8xb2-24e_openocc.py',
        'voxelsplat/voxelsplat_fbocc-eva02-l_8xb2-24e_openocc.py',
    ),
    (
        'fbocc/fbocc-internimage-xl_8xb2-24e_openocc.py',
        'voxelsplat/voxelsplat_fbocc-internimage-xl_8xb2-24e_openocc.py',
    ),
    *(
        (f'fbocc/fbocc-{name}.py', f'gaussrender/{variant}_fbocc-{name}.py')
        for name, variant in (
            ('r50_8xb2-48e_openocc', 'gaussrender'),
            ('r50_8xb2-48e_occ3d', 'gaussrender'),
            ('r50_8xb2-48e_occ3d', 'gaussrender-released'),
            ('r50_8xb2-48e_surroundocc', 'gaussrender'),
            ('tiny_minitown', 'gaussrender'),
            ('tiny_minitown', 'gaussrender-sensor'),
            ('tiny_minitown-surroundocc', 'gaussrender'),
        )
    ),
    *(
        (f'{host.split("-")[0]}/{host}.py', f'voxdet/{variant}_{host}.py')
        for host, variant in (
            ('fbocc-r50_8xb2-48e_openocc', 'voxdet'),
            ('bevstereo-r50_8xb4-24e_occ3d', 'voxdet'),
            ('fbocc-tiny_minitown', 'voxdet'),
            ('fbocc-tiny_minitown', 'voxdet-offsets'),
            ('bevstereo-tiny_minitown', 'voxdet'),
        )
    ),
    *(
        (
            f'{host}/{host}-r101_4xb1-20e_{labels}.py',
            f'{method}/{method}_{host}-r101_4xb1-20e_{labels}.py',
        )
        for host in ('tpvformer', 'surroundocc')
        for method, labels in (
            ('gaussrender', 'occ3d'),
            ('gaussrender', 'surroundocc'),
            ('voxelsplat', 'occ3d'),
            ('voxdet', 'occ3d'),
        )
    ),
    *(
        (
            f'{host}/{host}-tiny_minitown.py',
            f'gaussrender/gaussrender_{host}-tiny_minitown.py',
        )
        for host in ('tpvformer', 'surroundocc')
    ),
]


def load(name):
    return load_config(ROOT / 'occupancy_configs' / name)


def samples(cfg, root, count=1, split='train'):
    dataset_cfg = cfg[f'{split}_dataloader']['dataset']
    dataset_cfg['data_root'] = str(root)
    dataset = DATASETS.build(dataset_cfg)
    return pseudo_collate([dataset[i] for i in range(count)])


def train_step(model, data):
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    return losses


def assert_all_learn(model, frozen=()):
    """A gradient for every parameter but those of the frozen modules.

    DistributedDataParallel stops at parameters that no loss reaches.
    """
    for name, parameter in model.named_parameters():
        learns = name.split('.')[0] not in frozen
        assert parameter.requires_grad == learns, name
        assert (parameter.grad is not None) == learns, name


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_its_model(path, without_memory):
    # the largest have 350 million parameters
    model = MODELS.build(load_config(path).model)
    assert sum(p.numel() for p in model.parameters()) > 1e5


@pytest.mark.parametrize('baseline, method', PAIRS)
def test_a_method_is_its_baseline_plus_a_head(baseline, method):
    baseline, method = load(baseline), load(method)
    added = [method.model.pop(name, None) for name in HEADS]
    assert sum(map(bool, added)) == 1
    assert not set(HEADS) & set(baseline.model)
    # what the head looks at beyond the baseline's own labels
    method.train_dataloader.dataset.pop('extra_transforms', None)
    assert method.to_dict() == baseline.to_dict()


@pytest.mark.parametrize(
    'small, large, size, batch',
    [
        (
            'openocc_nuscenes',
            'openocc_nuscenes_640x1600',
            (1600, 640),
            dict(batch_size=2),
        ),
        (
            'occ3d_nuscenes_3frames',
            'occ3d_nuscenes_3frames_512x1408',
            (1408, 512),
            dict(batch_size=1),
        ),
    ],
)
def test_large_images_differ_in_their_size_alone(small, large, size, batch):
    small, large = (
        Config.fromfile(ROOT / f'occupancy_configs/_base_/datasets/{name}.py')
        for name in (small, large)
    )
    assert (small.image_size, large.image_size) == ((704, 256), size)
    # and in how many samples fit a GPU
    small.train_dataloader.update(batch)
    large.pop('changes', None)
    small.pop('changes', None)
    small.image_size = size
    pipelines = [small.train_pipeline, small.test_pipeline]
    for name in ('train', 'val', 'test'):
        pipelines.append(small[f'{name}_dataloader'].dataset.pipeline)
    for pipeline in pipelines:
        (step,) = [s for s in pipeline if s.type == 'ImageAug']
        step.size = size
    assert small.to_dict() == large.to_dict()


@pytest.mark.parametrize(
    'name', ['bevstereo-r50_8xb4-24e', 'bevstereo-swin-b_32xb1-24e']
)
def test_the_camera_mask_is_all_that_its_configs_change(name):
    without = load(f'bevstereo/{name}_occ3d.py')
    masked = load(f'bevstereo/{name}_occ3d-camera-mask.py')
    pipeline = masked.train_dataloader.dataset.pipeline
    (step,) = [s for s in pipeline if s.type == 'LoadOccLabels']
    assert step.pop('use_camera_mask') is True
    assert masked.to_dict() == without.to_dict()


def test_flow_without_labels_differs_in_labels_and_loss_alone():
    with_labels, without = (
        load(f'voxelsplat/voxelsplat-{name}_fbocc-tiny_minitown.py')
        for name in ('adjacent', 'noflow')
    )
    assert with_labels.model.occ_head.pop('flow_loss_weight') > 0
    assert without.model.occ_head.pop('flow_loss_weight') == 0
    pipeline = without.train_dataloader.dataset.pipeline
    (step,) = [s for s in pipeline if s.type == 'LoadOccLabels']
    assert step.pop('with_flow') is False
    assert without.to_dict() == with_labels.to_dict()


@pytest.mark.parametrize(
    'baseline, method', [pair for pair in PAIRS if 'tiny' in pair[0]]
)
def test_a_head_leaves_the_other_initial_weights_alone(baseline, method):
    states = []
    for name in (baseline, method):
        torch.manual_seed(0)
        model = MODELS.build(load(name).model)
        model.init_weights()
        states.append(model.state_dict())
    one, two = states
    two = {k: v for k, v in two.items() if k.split('.')[0] not in HEADS}
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(two[name], value), name


@pytest.mark.parametrize(
    'folder', sorted({path.parent for path in CONFIGS}), ids=lambda p: p.name
)
def test_every_method_folder_introduces_itself(folder):
    readme = (folder / 'README.md').read_text()
    metafile = (folder / 'metafile.yml').read_text()
    for path in folder.glob('*.py'):
        assert path.name in readme
        assert f'Config: occupancy_configs/{folder.name}/{path.name}' in (
            metafile
        )


def test_the_head_changes_neither_weights_nor_prediction(minitown_infos):
    cfg = load(TINY)
    data = samples(cfg, minitown_infos, split='val')
    torch.manual_seed(0)
    method = MODELS.build(cfg.model).eval()
    del cfg.model['render_heads']
    baseline = MODELS.build(cfg.model).eval()
    baseline.load_state_dict(method.state_dict(), strict=True)
    with torch.no_grad():
        one, two = method.test_step(data)[0], baseline.test_step(data)[0]
        assert torch.equal(one.pred_occ, two.pred_occ)
        assert torch.equal(one.pred_flow, two.pred_flow)


@pytest.mark.parametrize(
    'path',
    [
        p
        for p in CONFIGS
        # tests/test_pretraining_configs.py has those without a volume
        if 'tiny' in p.name and p.parent.name != 'pretrain'
    ],
    ids=lambda p: p.stem,
)
def test_tiny_configs_train_and_predict(path, minitown_lidar2d):
    cfg = load_config(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    losses = train_step(model, samples(cfg, minitown_lidar2d, count=2))
    terms = {name.split('_')[1] for name in losses}
    lifter = cfg.model.lifter
    learns_depth = 'depth_bins' in lifter and lifter.get('depth_weight', 1) > 0
    assert ('depth' in terms) == learns_depth
    method = path.parent.name
    only_images = '2d3d' not in path.stem and (
        '2d' in path.stem or method in ('gsrender', 'renderocc')
    )
    assert ('occ' in terms) == (not only_images)
    # RenderOcc's head is called after what it does
    term = dict(renderocc='nerf').get(method, method)
    assert (term in terms) == bool(cfg.model.get('render_heads', ()))
    offset_head = cfg.model.get('offset_head', {})
    assert ('offset' in terms) == bool(offset_head)
    assert ('aux' in terms) == ('aux_head' in offset_head)
    for name, value in losses.items():
        assert torch.isfinite(value), name
    assert_all_learn(model, frozen=cfg.model.get('frozen', ()))
    sample = model.eval().test_step(samples(cfg, minitown_lidar2d))[0]
    assert sample.pred_occ.shape == (100, 100, 8)
    if cfg.model.occ_head.type == 'OccHead' and 'surroundocc' not in path.stem:
        assert sample.pred_flow.shape == (100, 100, 8, 2)
    assert ('pred_offsets' in sample) == bool(offset_head)
    if offset_head:
        assert sample.pred_offsets.shape == (6, 50, 50, 4)
        low, high = sample.pred_offsets.flatten(1).aminmax(dim=1)
        assert (low > 0).all()
        assert (high < torch.tensor([80, 80, 80, 80, 6.4, 6.4])).all()


def structure(node):
    """Which parts a config is made of, and which options it sets."""
    if isinstance(node, dict):
        # of norms and sizes only that they are set
        return {
            key: structure(value)
            for key, value in node.items()
            if key not in ('norm_cfg', 'init_cfg', 'base_channels')
        }
    return node if isinstance(node, (str, bool)) else None


def test_the_small_published_host_has_all_parts_of_the_large_one():
    small, large = (
        load(name).to_dict()['model']
        for name in (PUBLISHED, 'fbocc/fbocc-r50_8xb2-48e_openocc.py')
    )
    assert structure(small) == structure(large)


BENCH = sorted((ROOT / 'occupancy_configs/bench').glob('*tiny*.py'))


@pytest.mark.parametrize('path', BENCH, ids=lambda path: path.stem)
def test_two_heads_on_one_host_train(path, minitown_infos):
    cfg = load_config(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    data = samples(cfg, minitown_infos, count=2)
    losses = train_step(model, data)
    assert all(torch.isfinite(value) for value in losses.values())
    assert_all_learn(model, frozen=cfg.model.frozen)
    heads = len(cfg.model.render_heads) + ('offset_head' in cfg.model)
    assert heads == 2


@pytest.mark.parametrize(
    'pair, other',
    [
        ('adjacent-gaussrender', 'gaussrender/gaussrender-sensor'),
        ('both', 'voxelsplat/voxelsplat'),
        ('adjacent-voxdet-offsets', 'voxdet/voxdet-offsets'),
    ],
)
def test_two_heads_are_those_of_the_methods_alone(pair, other):
    both, *alone = (
        load(f'{name}_fbocc-tiny_minitown.py')
        for name in (
            f'bench/voxelsplat-{pair}',
            'voxelsplat/voxelsplat-adjacent',
            other,
        )
    )
    heads = [h for cfg in alone for h in cfg.model.get('render_heads', [])]
    assert both.model.render_heads == heads
    offset_head = alone[1].model.get('offset_head')
    assert both.model.get('offset_head') == offset_head


def test_two_heads_of_one_kind_both_count(minitown_infos):
    cfg = load('bench/voxelsplat-both_fbocc-tiny_minitown.py')
    model = MODELS.build(cfg.model)
    losses = train_step(model, samples(cfg, minitown_infos, count=2))
    # the flow of the first, between key frames, is looked for elsewhere
    assert losses['loss_voxelsplat_flow'] == 0
    assert losses['loss_voxelsplat_flow_1'] > 0


def test_fbocc_as_published_trains_with_both_kinds_of_heads(minitown_infos):
    cfg = load(PUBLISHED)
    cfg.model.render_heads = load(TINY).model.render_heads
    head = load('voxdet/voxdet_fbocc-tiny_minitown.py').model.offset_head
    head.in_channels = head.aggregation.in_channels = 32
    head.encoder.update(channels=32, in_levels=3)
    head.aux_head.update(in_channels=32, upsample=2, level_kernel=3)
    cfg.model.offset_head = head
    steps = [dict(type='VoxelRunLengths', stride=head.stride)]
    cfg.train_dataloader.dataset.extra_transforms = steps
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    losses = train_step(model, samples(cfg, minitown_infos))
    terms = {name.split('_')[1] for name in losses}
    assert terms >= {'occ', 'depth', 'flow', 'offset', 'aux', 'voxelsplat'}
    assert all(torch.isfinite(value) for value in losses.values())
    assert_all_learn(model)
    data = samples(cfg, minitown_infos, split='val')
    sample = model.eval().test_step(data)[0]
    assert sample.pred_occ.shape == (100, 100, 8)
    assert sample.pred_flow.shape == (100, 100, 8, 2)
    assert sample.pred_offsets.shape == (6, 50, 50, 4)


@pytest.mark.parametrize(
    'path',
    [p for p in CONFIGS if p.parent.name == 'voxdet'],
    ids=lambda p: p.stem,
)
def test_offsets_are_learned_at_the_cells_that_have_labels(path):
    cfg = load_config(path)
    steps = cfg.train_dataloader.dataset.extra_transforms
    (step,) = [s for s in steps if s.type == 'VoxelRunLengths']
    assert step.stride == cfg.model.offset_head.stride


@pytest.mark.parametrize('host', ['bevstereo', 'tpvformer', 'surroundocc'])
def test_a_tiny_host_learns(host, minitown_infos):
    cfg = load(f'{host}/{host}-tiny_minitown.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = samples(cfg, minitown_infos)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(8):
        optimizer.zero_grad()
        losses = train_step(model, data)
        optimizer.step()
        history.append(float(model.parse_losses(losses)[0]))
    assert history[-1] < 0.85 * history[0]


@pytest.mark.parametrize('host', [TINY, PUBLISHED])
def test_warmup_reaches_every_parameter_too(host, minitown_infos):
    cfg = load(host)
    cfg.model.render_heads = load(TINY).model.render_heads
    model = MODELS.build(cfg.model)
    model.set_warmup(True)
    losses = train_step(model, samples(cfg, minitown_infos))
    assert losses['loss_voxelsplat_flow'] == 0 == losses['loss_flow']
    assert_all_learn(model, frozen=cfg.model.get('frozen', ()))


@pytest.mark.slow
@pytest.mark.long
def test_the_full_size_config_steps_on_the_cpu(minitown_infos):
    # 200x200x16 voxels, 6 images of 256x704, 36 render views
    cfg = load(FULL_SIZE)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    data = samples(cfg, minitown_infos)
    assert data['inputs']['imgs'][0].shape == (1, 6, 3, 256, 704)
    # what would be predicted is scored by the losses: a prediction of its
    # own, of the same layers, would double the time of the way forward;
    # tests/test_full_size_configs.py has one, of a smaller volume
    seen = []
    model.occ_head.register_forward_hook(lambda *args: seen.append(args[-1]))
    losses = train_step(model, data)
    assert all(torch.isfinite(value) for value in losses.values())
    assert any('voxelsplat' in name for name in losses)
    assert seen[0].logits.shape[-3:] == (200, 200, 16)
