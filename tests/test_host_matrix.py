"""Every head learns on every host, from every label set of MiniTown."""

import re
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS

from host_matrix import HEADS, HOSTS, LABELS, TOGETHER, combine
from test_configs import assert_all_learn, samples, train_step

ROOT = Path(__file__).parents[1]
MODELS_ROOT = ROOT / 'projects' / 'occsplat' / 'models'
#: what the losses of a head are called
TERMS = {
    'VoxelSplat, labels moved': 'voxelsplat',
    'VoxelSplat, adjacent frames': 'voxelsplat',
    'GaussRender': 'gaussrender',
    'GSRender': 'gsrender',
    'RenderOcc': 'nerf',
    'VoxDet': 'offset',
}


def check_step(host, heads, labels, folder, root, occ_head=None):
    cfg = combine(host, heads, labels, folder)
    if occ_head:
        cfg.model.occ_head = dict(occ_head, label_spec=labels)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    losses = train_step(model, samples(cfg, root))
    for name, value in losses.items():
        assert torch.isfinite(value), name
    terms = {name.split('_')[1] for name in losses}
    assert terms >= {TERMS[head] for head in heads}
    assert_all_learn(model, frozen=cfg.model.frozen)


@pytest.mark.parametrize('labels', LABELS)
@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('host', HOSTS)
def test_a_head_on_a_host(host, head, labels, tmp_path, minitown_lidar2d):
    check_step(host, [head], labels, tmp_path, minitown_lidar2d)


@pytest.mark.parametrize('heads', TOGETHER, ids=' + '.join)
@pytest.mark.parametrize('i, host', enumerate(HOSTS))
def test_two_heads_on_a_host(i, host, heads, tmp_path, minitown_lidar2d):
    labels = LABELS[(i + TOGETHER.index(heads)) % len(LABELS)]
    check_step(host, heads, labels, tmp_path, minitown_lidar2d)


@pytest.mark.parametrize('host', ['FB-Occ', 'BEVStereo', 'BEVDet'])
def test_the_losses_of_gaussrender_on_other_hosts(
    host, tmp_path, minitown_lidar2d
):
    head = dict(type='MultiScaleOccHead', in_channels=[HOSTS[host][0]])
    check_step(
        host, ['GaussRender'], 'occ3d', tmp_path, minitown_lidar2d, head
    )


def test_no_head_names_a_host_and_no_host_a_head():
    hosts = r'fb-?occ\b|bevstereo|bevdet|tpv|surroundocc'
    heads = r'voxelsplat|gaussrender|gsrender|renderocc|voxdet'
    own = [*MODELS_ROOT.glob('render_heads/*.py')]
    own += [MODELS_ROOT / 'heads' / 'offset_head.py']
    other = [*MODELS_ROOT.glob('lifting/*.py')]
    for files, names in ((own, hosts), (other, heads)):
        for path in files:
            code = re.sub(r'"""(?s:.)*?"""|#.*', '', path.read_text())
            assert not re.search(names, code, re.IGNORECASE), path
