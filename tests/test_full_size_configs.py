"""Full-size configs take a training step and predict, on small inputs.

What is full is the width of every layer; images, volume, labels and the
number of a large backbone's blocks are cut, so that a step fits into
memory and half a minute. tests/test_configs.py builds every config as it
is.
"""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate

from occsplat.engine import load_config

pytestmark = pytest.mark.slow
CONFIGS = Path(__file__).parents[1] / 'occupancy_configs'
SIZE = (320, 64)  # pixels, (width, height)
VOLUME = (50, 50, 4)  # voxels
#: of a lifter that halves them twice
HALVED = (20, 20, 8)
#: config and what is cut in its backbone
CASES = {
    'fbocc/fbocc-r50_8xb2-48e_occ3d.py': dict(),
    'voxelsplat/voxelsplat_fbocc-r50_8xb2-48e_openocc.py': dict(),
    'voxelsplat/voxelsplat-adjacent_fbocc-r50_8xb2-48e_openocc.py': dict(),
    # two blocks with windows, of which 20 patches are more than one
    # wide, and one with a large window
    'voxelsplat/voxelsplat_fbocc-eva02-l_8xb2-24e_openocc.py': dict(depth=3),
    'voxelsplat/voxelsplat_fbocc-internimage-xl_8xb2-24e_openocc.py': dict(
        depths=(1, 1, 1, 1)
    ),
    'bevstereo/bevdet-r50_8xb4-24e_occ3d-camera-mask.py': dict(),
    'bevstereo/bevstereo-r50_8xb4-24e_occ3d.py': dict(),
    'bevstereo/bevstereo-swin-b_32xb1-24e_occ3d-camera-mask.py': dict(
        depths=(2, 2, 2, 2)
    ),
    'gsrender/gsrender-2f-2d3d_bevstereo-swin-b_8xb2-12e_occ3d.py': dict(
        depths=(1, 1, 1, 1)
    ),
    'renderocc/renderocc-7f_bevstereo-swin-b_8xb2-12e_occ3d.py': dict(
        depths=(1, 1, 1, 1)
    ),
    'voxdet/voxdet_fbocc-r50_8xb2-48e_openocc.py': dict(),
    'voxdet/voxdet_bevstereo-r50_8xb4-24e_occ3d.py': dict(),
    'gaussrender/gaussrender_tpvformer-r101_4xb1-20e_occ3d.py': dict(),
    'voxdet/voxdet_tpvformer-r101_4xb1-20e_occ3d.py': dict(),
    'surroundocc/surroundocc-r101_8xb1-24e_surroundocc.py': dict(),
    'voxdet/voxdet_surroundocc-r101_4xb1-20e_occ3d.py': dict(),
}


def volume_shape(model):
    """Of the shrunk volume that is lifted."""
    return HALVED if model.lifter.type == 'SurroundOccLifter' else VOLUME


def label_shape(model):
    """Of the shrunk volume."""
    factor = model.occ_head.get('upsample', 1)
    if model.lifter.type == 'SurroundOccLifter':
        factor = 2  # its decoder's
    return tuple(n * factor for n in volume_shape(model))


def shrink(cfg, backbone):
    """Cut images, volume and labels, in place."""
    model = cfg.model
    model.init_cfg = None  # needs a public file
    model.img_backbone.update(backbone)
    limits = model.lifter.grid.range
    for part in (model.lifter, model.get('history')):
        if part is not None:
            part.grid = dict(range=limits, shape=volume_shape(model))
    labels = dict(range=limits, shape=label_shape(model))
    ungridded = 'OccHead', 'MultiScaleOccHead'
    if model.occ_head.type not in ungridded:
        model.occ_head.grid = labels
    if 'offset_head' in model:
        model.offset_head.grid = labels
        if model.offset_head.aux_head.type not in ungridded:
            model.offset_head.aux_head.grid = labels
    for head in model.get('render_heads', ()):
        head.grid = labels
        if head.type == 'VoxelSplatHead':
            head.num_samples = 5_000
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        for step in dataset.pipeline + dataset.get('extra_transforms', []):
            changes = {
                'ImageAug': dict(size=SIZE),
                'LoadOccLabels': dict(grid=labels),
                'RenderViews': dict(frames=(0, 1)),
            }
            step.update(changes.get(step.type, {}))


def batch(cfg, root, split):
    dataset_cfg = cfg[f'{split}_dataloader'].dataset
    dataset_cfg.data_root = str(root)
    return pseudo_collate([DATASETS.build(dataset_cfg)[2]])


@pytest.mark.parametrize('name', CASES, ids=lambda name: Path(name).stem)
def test_it_learns_and_predicts_on_small_inputs(name, minitown_lidar2d):
    cfg = load_config(CONFIGS / name)
    shrink(cfg, CASES[name])
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = batch(cfg, minitown_lidar2d, 'train')
    assert data['inputs']['imgs'][0].shape[-2:] == SIZE[::-1]
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    for term, value in losses.items():
        assert torch.isfinite(value), term
    added = dict(voxelsplat='voxelsplat', gsrender='gsrender')
    added |= dict(renderocc='nerf', voxdet='offset')
    added |= dict(gaussrender='gaussrender')
    for method, term in added.items():
        assert any(term in t for t in losses) == name.startswith(method)
    model.parse_losses(losses)[0].backward()
    for parameter_name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # stem and norms of R101
            continue
        # None would stop DistributedDataParallel
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
    with torch.no_grad():
        sample = model.eval().test_step(batch(cfg, minitown_lidar2d, 'val'))[0]
    assert sample.pred_occ.shape == label_shape(cfg.model)
    head = cfg.model.occ_head
    if head.type == 'OccHead' and head.get('with_flow', True):
        assert torch.isfinite(sample.pred_flow).all()
    if 'offset_head' in cfg.model:
        cells = tuple(n // 2 for n in label_shape(cfg.model))
        assert sample.pred_offsets.shape == (6, *cells)
        assert torch.isfinite(sample.pred_offsets).all()
