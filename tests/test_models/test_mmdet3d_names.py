"""Tools that know mmdetection3d's detectors find what they look for."""

from pathlib import Path

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.analysis import get_model_complexity_info
from mmengine.dataset import pseudo_collate

from occsplat.engine import load_config

CONFIG = Path(__file__).parents[1] / 'small_fbocc_config.py'


def test_features_logits_and_complexity(minitown_infos):
    cfg = load_config(CONFIG)
    dataset = dict(cfg.val_dataloader.dataset, data_root=str(minitown_infos))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    batch = pseudo_collate([DATASETS.build(dataset)[0]])
    data = model.data_preprocessor(batch)
    inputs, samples = data['inputs'], data['data_samples']
    with torch.no_grad():
        (features,) = model.extract_feat(inputs)
        logits = model._forward(inputs, samples).logits
        again = model(inputs, samples, mode='tensor').logits
    assert features.maps[0].shape[:2] == inputs['imgs'].shape[::2][:2]
    assert torch.equal(logits, again)
    # as their tools/analysis_tools do, with _forward in forward's place
    model.forward = lambda imgs: (
        model._forward(dict(imgs=imgs), samples).logits
    )
    found = get_model_complexity_info(
        model, inputs=(inputs['imgs'],), show_table=False, show_arch=False
    )
    assert found['params'] == sum(p.numel() for p in model.parameters())
    assert found['flops'] > 1e8
