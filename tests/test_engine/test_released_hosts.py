"""TPVFormer's, SurroundOcc's and GaussRender's published networks."""

import json
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS

from occsplat.data.layout import CAMERAS
from occsplat.engine import load_config
from occsplat.engine.key_maps import KEY_MAPS, Dropped
from occsplat.engine.released import RELEASED

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / 'tests' / 'data' / 'released'
TPV, SURROUND = 'gaussrender-tpvformer-occ3d', 'surroundocc-r101'
FILES = {TPV: 'gaussrender_tpvformer_occ3d', SURROUND: 'surroundocc_r101'}


def shapes_of(file):
    return json.loads((SHAPES / f'{file}_shapes.json').read_text())['shapes']


def build(config):
    cfg = load_config(ROOT / 'occupancy_configs' / config)
    with torch.device('meta'):
        model = MODELS.build({**cfg.model, 'init_cfg': None})
    own = model.state_dict()
    return model, {k: v for k, v in own.items() if 'num_batches' not in k}


def split(items):
    items = list(items)
    renamed = {x.name: x for x in items if not isinstance(x, Dropped)}
    return renamed, [x for x in items if isinstance(x, Dropped)]


@pytest.mark.parametrize('name', FILES)
def test_every_name_has_its_place(name):
    """All of ours come from the file, and all of the file is accounted for."""
    model, own = build(RELEASED[name].config)
    # an expanded number takes no memory
    state = {
        key: torch.zeros(()).expand(shape)
        for key, shape in shapes_of(FILES[name]).items()
        if 'num_batches' not in key
    }
    renamed, dropped = split(KEY_MAPS[RELEASED[name].key_map](state, model))
    assert {k: v.value.shape for k, v in renamed.items()} == {
        k: v.shape for k, v in own.items()
    }
    used = [key for item in renamed.values() for key in item.sources]
    used += [key for item in dropped for key in item.keys]
    assert sorted(used) == sorted(state)


def test_fcos3d_gives_the_image_side():
    """What it has of it, by mmdet3d's names or a detector's."""
    config = 'tpvformer/tpvformer-r101_4xb1-20e_occ3d.py'
    model, own = build(config)
    image = {k for k in own if k.startswith('img_')}
    for backbone, neck in (('img_backbone', 'img_neck'), ('backbone', 'neck')):
        state = {
            k.replace('img_backbone', backbone).replace('img_neck', neck): (
                torch.zeros(()).expand(own[k].shape)
            )
            for k in image
        }
        state['bbox_head.conv_cls.weight'] = torch.zeros(10)
        state[f'{neck}.fpn_convs.4.conv.weight'] = torch.zeros(256, 256, 3, 3)
        renamed, dropped = split(KEY_MAPS['fcos3d_r101'](state, model))
        assert set(renamed) == image
        assert sorted(k for item in dropped for k in item.keys) == sorted(
            ['bbox_head.conv_cls.weight', f'{neck}.fpn_convs.4.conv.weight']
        )


def numbered(shapes):
    """Tensors that hold their own places."""
    return {
        key: torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(
            shape
        )
        for key, shape in shapes.items()
    }


PUBLISHED_CAMERAS = (
    *('CAM_FRONT', 'CAM_FRONT_RIGHT', 'CAM_FRONT_LEFT'),
    *('CAM_BACK', 'CAM_BACK_LEFT', 'CAM_BACK_RIGHT'),
)


def test_what_is_turned_around_in_tpvformer():
    module = torch.nn.Module()
    mlp = 'aggregator.renderer_prep.decoder.mlp_coarse.4'
    state = numbered(
        {
            'img_backbone.conv1.weight': (2, 3, 1, 1),
            'tpv_head.cams_embeds': (6, 1),
            'head.positional_encoding.col_embed.weight': (5, 2),
            'head.positional_encoding.row_embed.weight': (4, 2),
            'aggregator.classifier.weight': (3, 2),
            f'{mlp}.weight': (29, 2),
            f'{mlp}.bias': (29,),
        }
    )
    module.render_heads = torch.nn.ModuleList([torch.nn.Module()])
    layers = [torch.nn.Identity()] * 4 + [torch.nn.Linear(2, 1)]
    module.render_heads[0].opacity_mlp = torch.nn.Sequential(*layers)
    found, _ = split(KEY_MAPS['tpvformer'](state, module))
    value = {name: item.value for name, item in found.items()}
    # blue, green, red
    assert value['img_backbone.conv1.weight'][0, :, 0, 0].tolist() == [2, 1, 0]
    for i, row in enumerate(value['lifter.embedding.camera'][:, 0].tolist()):
        assert PUBLISHED_CAMERAS[int(row)] == CAMERAS[i]
    assert value['lifter.position_x'].shape == (1, 5, 2)  # a column is an x
    assert value['lifter.position_y'].shape == (4, 1, 2)
    assert value['occ_head.classifiers.0.weight'].shape == (3, 2, 1, 1, 1)
    # of 3 offsets and 18 classes comes the opacity, of which 1 is taken off
    head = 'render_heads.0.opacity_mlp.4'
    assert value[f'{head}.weight'].tolist() == [[42, 43]]
    assert value[f'{head}.bias'].tolist() == [20]


def test_what_is_turned_around_in_surroundocc(monkeypatch):
    """A query's number is its place (z, y, x); ours is (x, y, z)."""
    from occsplat.engine.key_maps import surroundocc

    monkeypatch.setattr(surroundocc, 'GRIDS', ((2, 3, 4),))
    head = 'pts_bbox_head'
    state = numbered(
        {
            f'{head}.volume_embedding.0.weight': (24, 1),
            f'{head}.transformer.0.level_embeds': (4, 2),
            f'{head}.transformer.0.cams_embeds': (6, 1),
            f'{head}.deblocks.3.0.weight': (1,),
            f'{head}.deblocks.6.1.bias': (1,),
            f'{head}.occ.0.weight': (1,),
        }
    )
    found, _ = split(KEY_MAPS['surroundocc'](state, torch.nn.Module()))
    value = {name: item.value for name, item in found.items()}
    query = value['lifter.levels.0.query'].view(4, 3, 2)
    x, y, z = torch.meshgrid(*map(torch.arange, (4, 3, 2)), indexing='ij')
    assert torch.equal(query, ((z * 3 + y) * 4 + x).double())
    assert value['lifter.levels.0.embedding.level'].tolist() == [[0, 1]]
    assert set(value) >= {
        'volume_encoder.deconvs.1.conv.weight',  # to 100x100x8 voxels
        'volume_encoder.convs.0.gn.bias',  # the finest
        'occ_head.classifiers.3.weight',  # the coarsest
    }
