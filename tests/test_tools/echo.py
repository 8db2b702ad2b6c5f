"""Models that predict their labels, not quite: no network, some errors.

Not a test module; configs import it through ``custom_imports``.
"""

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import nn

from occsplat.ops import run_lengths
from occsplat.structures import LabelSpec, OccPrediction


@MODELS.register_module(force=True)
class EchoModel(BaseModel):
    """Labels moved by a voxel along x; flow and offsets not quite right."""

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
            runs = run_lengths(sample.gt_occ, stride=2)
            sample.pred_offsets = runs * 0.8 + self.speed
        return data_samples


@MODELS.register_module(force=True)
class OpaqueEchoModel(BaseModel):
    """Labels of opacity 0.4, and a ghost of 0.25 three voxels behind them.

    A threshold between the two is right. ``seen`` has the tokens of the
    frames that went through.
    """

    seen = []

    def __init__(self, occ_head, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.occ_head = MODELS.build(occ_head)

    def forward(self, inputs, data_samples, mode='tensor'):
        spec = self.occ_head.spec
        logits = []
        for sample in data_samples:
            self.seen.append(sample.token)
            occ = sample.gt_occ.long()
            solid = occ != spec.free
            behind = torch.where(solid, spec.free, occ.roll(3, 0))
            opacity = torch.where(solid, 0.4, 0.25)
            label = torch.where(solid, occ, behind)[None]
            probs = torch.full((spec.num_classes, *occ.shape), 1e-4)
            probs.scatter_(0, label, opacity[None])
            probs[spec.free] = 0
            probs[spec.free] = 1 - probs.sum(dim=0)
            logits.append(probs.log())
        prediction = OccPrediction(logits=torch.stack(logits))
        if mode == 'tensor':
            return prediction
        for sample, occ in zip(
            data_samples, self.occ_head.predict(prediction)[0]
        ):
            sample.pred_occ = occ
        return data_samples
