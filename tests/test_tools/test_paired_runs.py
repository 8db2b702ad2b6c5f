"""Two rows with the same seed see the same frames, in the same order.

That their weights start alike: see test_configs.py.
"""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from occsplat.engine import OccRunner, load_config

CONFIGS = Path(__file__).parents[2] / 'occupancy_configs'
PAIRS = [
    ('fbocc/fbocc-tiny_minitown', 'voxelsplat/voxelsplat_fbocc-tiny_minitown'),
    ('fbocc/fbocc-tiny_minitown', 'voxdet/voxdet_fbocc-tiny_minitown'),
    (
        'renderocc/renderocc-1f_bevstereo-tiny_minitown',
        'gsrender/gsrender-2f_bevstereo-tiny_minitown',
    ),
]


def frames(name, root, seed, drawn):
    """Indices and seeds of two epochs, after other random numbers."""
    for _ in range(drawn):  # as a head that a method adds would
        random.random(), np.random.rand(), torch.rand(1)
    cfg = load_config(CONFIGS / f'{name}.py')
    dataset = dict(
        cfg.train_dataloader.dataset,
        data_root=str(root),
        pipeline=[],
        # the town of the tests has one scene, whose order nothing changes
        sequence_splits=4,
    )
    # what loading would need is not there, and is not loaded
    loader = dict(cfg.train_dataloader, dataset=dataset, num_workers=0)
    sampler = OccRunner.build_dataloader(loader, seed=seed).sampler
    out = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        out += [(int(index), index.seed) for index in sampler]
    return out


@pytest.mark.parametrize('baseline, method', PAIRS)
def test_the_order_depends_on_the_seed_alone(baseline, method, minitown_infos):
    first = frames(baseline, minitown_infos, 3, drawn=0)
    assert frames(method, minitown_infos, 3, drawn=5) == first
    order = [index for index, _ in first]
    half = len(order) // 2
    assert order[:half] != order[half:]
    other = frames(method, minitown_infos, 4, drawn=0)
    assert [index for index, _ in other] != order
