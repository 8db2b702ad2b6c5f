"""A model that predicts its labels, a voxel off: no network, some errors.

Not a test module; configs import it through ``custom_imports``.
"""

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import nn

from occsplat.structures import LabelSpec


@MODELS.register_module(force=True)
class EchoModel(BaseModel):
    """Labels moved by a voxel along x; a flow that is never quite right."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.speed = nn.Parameter(torch.tensor(0.9))
        self.movable = torch.tensor(LabelSpec.named('openocc').movable)

    def forward(self, inputs, data_samples, mode='tensor'):
        for sample in data_samples:
            sample.pred_occ = sample.gt_occ.roll(1, 0)
            moves = torch.isin(sample.pred_occ, self.movable)[..., None]
            flow = sample.gt_flow.roll(1, 0) * self.speed + 0.1
            sample.pred_flow = torch.where(moves, flow, 0)
        return data_samples
