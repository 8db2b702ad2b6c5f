"""BEVDet4D's stereo detectors, which BEVDet-Occ was trained from.

``bevdet-r50-4d-stereo-cbgs.pth`` and
``bevdet-stbase-4d-stereo-512x1408-cbgs.pth``, with the names of BEVDet-Occ
for what both have (``bevdet_occ.py``). Documented: that BEVDet's occupancy
configs load them non-strictly, so that whatever fits is taken. Inferred:
which tensors of the depth net have another shape, since the detector has
other depth bins and other context channels; what does not fit is listed.
"""

from __future__ import annotations

from typing import Iterator

from torch import Tensor, nn

from .bevdet_occ import DEPTH_NET, IMAGE_NAMES
from .parts import Dropped, Renamed, drop_prefixes, take_fitting
from .released_depth_net import convert_depth_net
from .steps import Tensors, bgr_to_rgb

ADDRESS = 'the model table of https://github.com/HuangJunJie2017/BEVDet'


def bevdet_det(
    state: dict[str, Tensor], module: nn.Module
) -> Iterator[Renamed | Dropped]:
    """Image backbone and neck, and what fits of the depth net."""
    tensors = Tensors(state)
    for first in ('conv1', 'patch_embed.projection'):
        tensors.change(f'img_backbone.{first}.weight', bgr_to_rgb)
    convert_depth_net(tensors, DEPTH_NET, to_train=True)
    items = list(tensors.renamed(IMAGE_NAMES))
    depth_net = [item for item in items if item.name.startswith('lifter.')]
    yield from (item for item in items if not item.name.startswith('lifter.'))
    yield from take_fitting(
        depth_net, module, 'depth net, for other bins and channels'
    )
    yield from drop_prefixes(
        state,
        ('img_bev_encoder_', 'pre_process_net.', 'pts_bbox_head.'),
        "bird's-eye network and heads",
    )
