"""The first stage of a backbone, without those behind it.

Shape letters: B images, S channels, H W image.
"""

from __future__ import annotations

from mmdet.models.backbones import ResNet
from torch import Tensor, nn

from .stereo_swin import StereoSwin


def first_stage(backbone: nn.Module, imgs: Tensor) -> Tensor:
    """The finest map that a backbone can give, at its first stage's cost.

    Args:
        backbone (nn.Module): mmdet's ResNet, StereoSwin, or made of one
            of them.
        imgs (Tensor): (B, 3, H, W).

    Returns:
        Tensor: (B, S, H/4, W/4), output 0 of the backbone.

    Raises:
        TypeError: for any other backbone.
    """
    if isinstance(backbone, ResNet):
        return _first_of_resnet(backbone, imgs)
    if isinstance(backbone, StereoSwin):
        return _first_of_swin(backbone, imgs)
    raise TypeError(
        'stereo matching reads the first stage of an mmdet ResNet or of '
        f'StereoSwin, the backbone is {type(backbone).__name__}: set '
        'stereo=False in the lifter or take one of these'
    )


def _first_of_resnet(backbone: ResNet, imgs: Tensor) -> Tensor:
    if backbone.deep_stem:
        x = backbone.stem(imgs)
    else:
        x = backbone.relu(backbone.norm1(backbone.conv1(imgs)))
    return getattr(backbone, backbone.res_layers[0])(backbone.maxpool(x))


def _first_of_swin(backbone: StereoSwin, imgs: Tensor) -> Tensor:
    x, shape = backbone.patch_embed(imgs)
    if backbone.use_abs_pos_embed:
        x = x + backbone.absolute_pos_embed
    x = backbone.drop_after_pos(x)
    # the stage itself would go on to merge patches for the next one
    for block in backbone.stages[0].blocks:
        x = block(x, shape)
    return x.transpose(1, 2).unflatten(2, shape)
