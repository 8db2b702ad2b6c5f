"""GSRender's and RenderOcc's configs, and every ablation of the docs."""

import math
import re
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate

from occsplat.engine import load_config

ROOT = Path(__file__).parents[1]
HOST = 'bevstereo-swin-b_8xb2-12e_occ3d'
TINY = 'bevstereo-tiny_minitown'
DOCS = ROOT / 'docs' / 'methods' / 'gsrender.md'


def load(name, **options):
    method = name.split('-')[0]
    cfg = load_config(ROOT / 'occupancy_configs' / method / f'{name}.py')
    cfg.merge_from_dict(options)
    return cfg


def frames(cfg):
    return tuple(cfg.train_dataloader.dataset.extra_transforms[-1].frames)


@pytest.mark.parametrize('host', [HOST, TINY])
def test_both_methods_have_the_same_host_labels_and_recipe(host):
    nerf, gaussian = load(f'renderocc-1f_{host}'), load(f'gsrender-1f_{host}')
    assert nerf.model.pop('render_heads') != gaussian.model.pop('render_heads')
    heads = [cfg.model.pop('occ_head') for cfg in (nerf, gaussian)]
    assert [h.type for h in heads] == ['DensityOccHead', 'GaussianOccHead']
    for key in set(heads[0]) - {'type'}:
        assert heads[0][key] == heads[1][key]
    assert nerf.to_dict() == gaussian.to_dict()


@pytest.mark.parametrize(
    'name, expected',
    [
        (f'gsrender-2f_{HOST}', (0, 1)),
        (f'gsrender-5f_{HOST}', (0, -2, -1, 1, 2)),
        (f'gsrender-2f_{TINY}', (0, 1)),
    ],
)
def test_ray_compensation_is_a_set_of_frames(name, expected):
    with_frames = load(name)
    without = load('gsrender-1f_' + name.split('_', 1)[1])
    assert frames(without) == (0,) and frames(with_frames) == expected
    for cfg in (with_frames, without):
        cfg.pop('extra_transforms', None)
        cfg.train_dataloader.dataset.pop('extra_transforms')
    assert with_frames.to_dict() == without.to_dict()


@pytest.mark.parametrize(
    'name',
    [f'gsrender-5f_{HOST}', f'renderocc-7f_{HOST}', f'gsrender-1f_{TINY}'],
)
def test_2d_training_reads_no_voxel_label(name):
    dataset = load(name).train_dataloader.dataset
    steps = [*dataset.pipeline, *dataset.extra_transforms]
    assert not any(step.type == 'LoadOccLabels' for step in steps)
    assert any(step.type == 'LoadPixelLabels' for step in steps)


def ablations():
    """The options of each line of the table in the docs."""
    text = DOCS.read_text(encoding='utf-8').split('## Ablations')[1]
    lines = re.findall(r'^\| `([\w.]+=[^`]+)` \|', text, flags=re.M)
    assert len(lines) >= 10
    return lines


@pytest.mark.parametrize('line', ablations())
def test_every_ablation_of_the_docs_is_one_line(line):
    key, value = line.split('=', 1)
    value = DictAction._parse_iterable(value.strip('"'))
    plain = load(f'gsrender-2f_{HOST}')
    changed = load(f'gsrender-2f_{HOST}', **{key: value})
    assert changed.to_dict() != plain.to_dict()
    if key.startswith('train_dataloader'):
        assert frames(changed) == (0, 2)
        return
    # it is a setting of what it names
    part = key.rsplit('.', 1)[0].removeprefix('model.')
    cfg = changed.model.occ_head
    if part != 'occ_head':
        cfg = changed.model.render_heads[0]
    with torch.device('meta'):
        module = MODELS.build(cfg)
    name = key.rsplit('.', 1)[1]
    if name in ('with_rotation', 'with_scale'):
        learned = module.parts[name.removeprefix('with_')]
        assert bool(learned) == value
    else:
        assert getattr(module, name) == value


def test_no_bound_and_no_render_head_can_be_written():
    options = {'model.occ_head.max_offset': float('inf')}
    cfg = load(f'gsrender-2f_{HOST}', **options)
    assert math.isinf(MODELS.build(cfg.model.occ_head).max_offset)
    assert DictAction._parse_iterable('[]') == []
    cfg = load(f'gsrender-2f-2d3d_{HOST}', **{'model.render_heads': []})
    assert cfg.model.render_heads == []


@pytest.mark.parametrize(
    'name, options',
    [
        (f'gsrender-2f_{TINY}', {}),
        (f'renderocc-1f_{TINY}', {}),
        (f'gsrender-2f_{TINY}', {'model.render_heads.0.level': 'logits'}),
        (
            f'gsrender-2f_{TINY}',
            {
                'model.occ_head.with_rotation': True,
                'model.occ_head.max_offset': math.inf,
                'model.render_heads.0.depth': 'expected',
                'model.render_heads.0.dynamic': 'instance',
            },
        ),
    ],
)
def test_tiny_configs_learn_in_batches_of_two(name, options, minitown_lidar2d):
    cfg = load(name, **options)
    data_cfg = cfg.train_dataloader.dataset
    data_cfg.data_root = str(minitown_lidar2d)
    dataset = DATASETS.build(data_cfg)
    # the second sample is the last of its scene: nothing comes after it
    data = pseudo_collate([dataset[1], dataset[3]])
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(3):
        batch = model.data_preprocessor(data, training=True)
        losses = model(**batch, mode='loss')
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        for key, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all(), key
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < totals[0]
    adjacent = [key for key in losses if key.endswith('_adjacent')]
    assert bool(adjacent) == ('-2f_' in name)
    model.eval()
    with torch.no_grad():
        (sample, _) = model(**batch, mode='predict')
    assert sample.pred_occ.shape == (100, 100, 8)
