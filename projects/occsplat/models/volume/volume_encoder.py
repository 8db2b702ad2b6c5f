"""The 3D network between the lifted volume and the occupancy head.

Shape letters: B batch, C channels, X Y Z voxels.
"""

from __future__ import annotations

from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures.checks import checked


@MODELS.register_module()
class VolumeEncoder(nn.Module):
    """A backbone and a neck over voxels.

    Args:
        backbone (dict): volume -> levels, e.g. ResNet3D.
        neck (dict, optional): levels -> levels, e.g. FPN3D.
    """

    @checked
    def __init__(self, backbone: dict, neck: dict | None = None) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.neck = nn.Identity() if neck is None else MODELS.build(neck)

    def forward(self, volume: Tensor) -> tuple[Tensor, ...]:
        """(B, C, X, Y, Z) -> levels (B, Ci, Xi, Yi, Zi), finest first."""
        return self.neck(self.backbone(volume))
