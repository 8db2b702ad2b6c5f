"""Which way is better: one table, which knows every metric there is."""

import re
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import METRICS

from occsplat.data import NuScenesOccDataset
from occsplat.engine import load_config
from occsplat.evaluation import DIRECTIONS_OF_METRICS, metric_direction

ROOT = Path(__file__).parents[2]
WORDS = {'higher': 1, 'lower': -1, 'like the truth': 0, 'a detail': 0, '': 0}


def documented():
    """(key, direction) of the table in docs/metrics.md."""
    text = (ROOT / 'docs' / 'metrics.md').read_text()
    for line in re.findall(r'^\| (`.*?) \|(.*)\|(.*)\|$', text, re.MULTILINE):
        if line[2].strip() in WORDS:
            for key in re.findall(r'`([A-Za-z][\w@.+-]*)`', line[0]):
                yield key, WORDS[line[2].strip()]


def test_the_documents_say_the_same():
    found = dict(documented())
    assert {'RayIoU@1', 'mAVE', 'FalseBehind', 'Found@0.5'} <= found.keys()
    for key, direction in found.items():
        if key != 'Runs_gt':
            assert metric_direction(key) == direction, key
    known = {re.split('@', key)[0] for key in found}
    assert set(DIRECTIONS_OF_METRICS) <= known


@pytest.mark.parametrize(
    ('key', 'direction'),
    [
        ('RayIoU@2_car', 1),
        ('mAVE', -1),
        ('mAVE_TP_bus', -1),
        ('camera/mIoU', 1),
        ('image_depth_L1_car', -1),
        ('image_mIoU_car', 1),
        ('OffsetError_x+_car', -1),
        ('FalseBehind', -1),
        ('Thickness_gt', 0),
        ('mAVErage', None),
        ('accuracy', None),
    ],
)
def test_classes_thresholds_and_prefixes_change_nothing(key, direction):
    assert metric_direction(key) == direction


def test_every_metric_of_a_tiny_config_is_known(minitown_infos):
    cfg = load_config(
        ROOT / 'occupancy_configs' / 'fbocc' / 'fbocc-tiny_minitown.py'
    )
    data = dict(cfg.test_dataloader.dataset, data_root=str(minitown_infos))
    assert data.pop('type') == NuScenesOccDataset.__name__
    sample = NuScenesOccDataset(**data)[0]['data_samples']
    sample.pred_occ = sample.gt_occ
    sample.pred_flow = torch.zeros(*sample.gt_occ.shape, 2)
    keys = set()
    for evaluator in cfg.test_evaluator:
        metric = METRICS.build(evaluator)
        metric.process({}, [sample])
        keys |= metric.score().keys()
    assert len(keys) > 100
    assert {key for key in keys if metric_direction(key) is None} == set()
