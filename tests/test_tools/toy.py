"""A toy model, data set and metric: what the tools need, in milliseconds.

Not a test module; configs import it through ``custom_imports``.
"""

import torch
from mmdet3d.registry import DATASETS, METRICS, MODELS
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset


@DATASETS.register_module(force=True)
class ToyDataset(Dataset):
    """y = 2 x."""

    def __init__(self, length=4):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return dict(x=torch.tensor([float(index)]))


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """A line; ``width`` changes the shape of its weights."""

    def __init__(self, width=1, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.layer = nn.Linear(1, width)
        self.warmup = False

    def set_warmup(self, warmup):
        self.warmup = warmup

    def forward(self, x, mode='tensor'):
        x = torch.stack(x)
        y = self.layer(x)
        if mode == 'loss':
            return dict(loss=(y - 2 * x).square().mean())
        return [dict(error=(y - 2 * x).abs().mean().item())]


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Mean error, and one that is not defined."""

    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results += [sample['error'] for sample in data_samples]

    def compute_metrics(self, results):
        return dict(
            error=sum(results) / len(results),
            frames=float(len(results)),
            undefined=float('nan'),
        )
