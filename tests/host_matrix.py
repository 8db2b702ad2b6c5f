"""Every head on every host: what has to be said to put them together."""

from pathlib import Path

from mmengine.config import Config

from occsplat.engine import load_config
from occsplat.engine.config_file import RUN_KEYS

BASE = Path(__file__).parents[1] / 'occupancy_configs' / '_base_'
LABELS = ('openocc', 'occ3d', 'surroundocc')
#: channels of the finest level, and of the occupancy head's features
HOSTS = {
    'FB-Occ': (24, 24),
    'BEVStereo': (16, 16),
    'BEVDet': (16, 16),
    'TPVFormer': (64, 64),
    'SurroundOcc': (16, 16),
}
FILES = {
    'FB-Occ': 'fbocc_tiny',
    'BEVStereo': 'bevstereo_tiny',
    'BEVDet': 'bevstereo_tiny',
    'TPVFormer': 'tpvformer_tiny',
    'SurroundOcc': 'surroundocc_tiny',
}
HEADS = (
    'VoxelSplat, labels moved',
    'VoxelSplat, adjacent frames',
    'GaussRender',
    'GSRender',
    'RenderOcc',
    'VoxDet',
)
#: heads that work on voxel labels can be put together
TOGETHER = [
    ('VoxelSplat, labels moved', 'GaussRender'),
    ('VoxelSplat, adjacent frames', 'VoxDet'),
    ('GaussRender', 'VoxDet'),
    ('GSRender', 'GaussRender'),
    ('RenderOcc', 'VoxDet'),
]
GROUPS = dict(type='GN', num_groups=4)
PIXELS = dict(type='LoadPixelLabels', scale=0.25, max_depth=52.0)


def _heads(names, channels, features):
    """Model parts and transforms of heads; nothing here names a host."""
    model, steps = dict(render_heads=[]), []
    rendered = dict(scale=0.3)
    for name in names:
        if name == 'VoxelSplat, labels moved':
            head = dict(type='VoxelSplatHead', num_samples=2000, **rendered)
        elif name == 'VoxelSplat, adjacent frames':
            steps.append(
                dict(type='LoadAdjacentFrames', frames=(-1, 1), scale=0.125)
            )
            motion = dict(
                type='AdjacentMotion',
                in_channels=features,
                above=[dict(type='PlaneView')],
            )
            head = dict(
                type='VoxelSplatHead',
                motion=motion,
                num_samples=2000,
                **rendered,
            )
        elif name == 'GaussRender':
            head = dict(type='GaussRenderHead')
        elif name == 'VoxDet':
            head = None
            steps.append(dict(type='VoxelRunLengths', stride=2))
            model['offset_head'] = dict(
                type='OffsetHead',
                in_channels=channels,
                channels=16,
                encoder=dict(
                    type='SpatiallyDecoupledEncoder',
                    channels=channels,
                    in_levels=1,
                    num_levels=2,
                    width=16,
                    norm_cfg=GROUPS,
                ),
                aggregation=dict(
                    type='InstanceAggregation',
                    in_channels=channels,
                    channels=16,
                    num_layers=1,
                    norm_cfg=GROUPS,
                ),
                norm_cfg=GROUPS,
            )
        else:
            # the labels are those of pixels; what is rendered needs an
            # occupancy head of its own
            gaussian = name == 'GSRender'
            steps.append(dict(PIXELS, frames=(0, 1) if gaussian else (0,)))
            model['occ_head'] = dict(
                type='GaussianOccHead' if gaussian else 'DensityOccHead',
                in_channels=channels,
                channels=16,
                hidden_channels=16,
            )
            head = dict(type='GSRenderHead' if gaussian else 'NeRFRenderHead')
        if head:
            model['render_heads'].append(head)
    return model, steps


def combine(host, heads, labels, folder):
    """The config of heads on a small host, with labels of MiniTown.

    Args:
        host: one of HOSTS.
        heads: some of HEADS.
        labels: one of LABELS.
        folder: where to write it.

    Returns:
        Config: loaded and checked, as any config.
    """
    path = Path(folder) / 'combined.py'
    bases = [
        f'{BASE}/datasets/{labels}_minitown.py',
        f'{BASE}/models/{FILES[host]}.py',
        f'{BASE}/schedules/tiny_20e.py',
        f'{BASE}/runtime.py',
    ]
    path.write_text(f'_base_ = {bases!r}')
    cfg = Config.fromfile(path).to_dict()
    model, grid = cfg['model'], cfg['labels']['grid']
    _set_host(host, cfg, grid)
    if host == 'FB-Occ':
        model['occ_head']['with_flow'] = labels == 'openocc'
    added, steps = _heads(heads, *HOSTS[host])
    model.update(added)
    for name, part in cfg.items():
        if name.endswith('dataloader') and part:
            part['dataset']['pipeline'] = cfg[f'{_split(name)}_pipeline']
    cfg['train_dataloader']['dataset']['extra_transforms'] = steps
    del cfg['train_pipeline'], cfg['test_pipeline']
    known = {k: v for k, v in cfg.items() if k in RUN_KEYS | {'labels'}}
    path.write_text('\n'.join(f'{k} = {v!r}' for k, v in known.items()))
    return load_config(path)


def _set_host(host, cfg, grid):
    """Grids, and what the lifter of a host reads."""
    model = cfg['model']
    half = dict(grid, shape=[n // 2 for n in grid['shape']])
    model['lifter']['grid'] = half if host == 'SurroundOcc' else grid
    for part in ('history', 'occ_head'):
        if 'grid' in model.get(part, {}):
            model[part]['grid'] = grid
    if host == 'BEVStereo':
        for split in ('train', 'test'):
            cfg[f'{split}_pipeline'][0]['frames'] = (0, -1, -2)
    if host == 'BEVDet':
        model['img_backbone']['out_indices'] = (1, 2)
        model['lifter'].update(num_frames=1, stereo=False)
        model['volume_encoder']['in_channels'] = 20


def _split(name):
    return 'train' if name.startswith('train') else 'test'
