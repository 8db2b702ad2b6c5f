"""A Swin Transformer whose first map can be matched between frames."""

from __future__ import annotations

from typing import Any, Sequence

from mmdet.models.backbones import SwinTransformer
from mmdet3d.registry import MODELS
from torch import nn

from occsplat.structures.checks import Natural, checked


@MODELS.register_module()
class StereoSwin(SwinTransformer):
    """mmdet's SwinTransformer with a plain output of the first stage.

    Output 0 comes before the next stage's patch merging and is not
    normalised (BEVDet): it goes to the stereo matching alone, which no
    gradient leaves, so that the weights of a layer norm there would never
    be trained.

    Args:
        out_indices (sequence of int): stages whose output is given, the
            first of them 0.
        **kwargs: as mmdet's SwinTransformer.

    Raises:
        ValueError: when out_indices does not start with 0.
    """

    @checked
    def __init__(
        self, out_indices: Sequence[Natural] = (0, 2, 3), **kwargs: Any
    ) -> None:
        if not out_indices or out_indices[0] != 0:
            raise ValueError(
                'out_indices of StereoSwin must start with 0, the map of '
                f'the stereo matching, got {tuple(out_indices)}'
            )
        super().__init__(out_indices=out_indices, **kwargs)
        self.norm0 = nn.Identity()
