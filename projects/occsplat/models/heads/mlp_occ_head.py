"""The occupancy head of BEVStereo (BEVDet's, as RenderOcc uses it).

Shape letters: B batch, F features, K classes, X Y Z voxels of the labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor

from occsplat.structures import LabelSpec, OccBatch, OccPrediction, VoxelGrid
from occsplat.structures.checks import Count, checked

from .voxel_mlp_head import VoxelMLPHead, voxel_mlp


@MODELS.register_module()
class MLPOccHead(VoxelMLPHead):
    """Class logits of every voxel, taught by voxel labels.

    Args:
        in_channels (int): channels of the finest volume level.
        label_spec (str | LabelSpec): what the label ids mean.
        grid (dict | VoxelGrid, optional): of the volume and the labels,
            default the label set's own.
        channels (int): F.
        hidden_channels (int): width of the perceptron.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        label_spec: str | LabelSpec,
        grid: dict | VoxelGrid | None = None,
        channels: Count = 32,
        hidden_channels: Count = 64,
    ) -> None:
        super().__init__(in_channels, label_spec, grid, channels)
        self.mlp = voxel_mlp(channels, hidden_channels, self.spec.num_classes)
        # first predictions: each class as likely as it is frequent
        share = torch.tensor(self.spec.counts, dtype=torch.float64)
        with torch.no_grad():
            self.mlp[-1].bias.copy_((share / share.sum()).log())

    def decode(self, features: Tensor, centers: Tensor) -> OccPrediction:
        """Logits (B, K, X, Y, Z); see VoxelMLPHead."""
        return OccPrediction(logits=self.mlp(features))

    def loss(
        self, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """Cross-entropy, mean over all voxels that are not 'ignore'.

        Whether voxels that no camera sees count is up to the labels
        (``use_camera_mask`` of LoadOccLabels).

        Returns:
            dict: loss_occ.

        Raises:
            ValueError: when labels are missing or have another shape.
        """
        occ = self._check_labels(batch)
        total = F.cross_entropy(
            prediction.logits.float(),
            occ,
            ignore_index=self.spec.ignore,
            reduction='sum',
        )
        known = (occ != self.spec.ignore).sum().clamp(min=1)
        return dict(loss_occ=total / known)

    @torch.no_grad()
    def predict(self, prediction: OccPrediction) -> tuple[Tensor, None]:
        """The likeliest class of every voxel, uint8 (B, X, Y, Z)."""
        return prediction.logits.argmax(dim=1).to(torch.uint8), None
