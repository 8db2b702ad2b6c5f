"""Images of several cameras and frames to features: what networks share.

Shape letters: B batch, T frames, N cameras, H W images.

::

    imgs (B, T, N, 3, H, W), newest frame first
      -> img_backbone, img_neck   ImageFeatures of each frame
"""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor, nn

from occsplat.structures.checks import checked

from .backbones.first_stage import first_stage
from .image_features import ImageFeatures, all_maps
from .interfaces import Lifter


class MultiCameraModel(BaseModel):
    """Backbone and neck, and the lifter that says what it needs of them.

    Args:
        img_backbone (dict): image backbone. For a lifter with ``stereo``
            its first output is the map that frames are matched by.
        lifter (dict): its attributes ``num_frames`` and ``stereo`` say
            what it reads.
        img_neck (dict, optional): image neck.
        data_preprocessor (dict, optional): see OccDataPreprocessor.
        init_cfg (dict, optional): as in mmengine.

    Raises:
        ValueError: when the lifter matches frames and the backbone's
            outputs do not start with its first stage.
    """

    lifter: Lifter

    @checked
    def __init__(
        self,
        img_backbone: dict,
        lifter: dict,
        img_neck: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            # built here: mmengine would look it up without our scope
            MODELS.build(
                data_preprocessor or dict(type='OccDataPreprocessor')
            ),
            init_cfg,
        )
        self.img_backbone = MODELS.build(img_backbone)
        self.img_neck = build_optional(img_neck)
        self.lifter = MODELS.build(lifter)
        _check_stereo_map(self.img_backbone, self.lifter)

    def extract_feat(self, inputs: dict[str, Tensor]) -> list[ImageFeatures]:
        """Image features under mmdet3d's name: see ``image_encoder``.

        Args:
            inputs (dict): of a batch, behind the data preprocessor.
        """
        return self.image_encoder(inputs['imgs'])

    def image_encoder(self, imgs: Tensor) -> list[ImageFeatures]:
        """Features of all frames, as far as the lifter needs them.

        The current frame alone learns: those before it are encoded
        without gradient. A frame that is there to be matched with costs
        no more than the backbone's first stage.

        Args:
            imgs (Tensor): (B, T, N, 3, H, W), newest first.

        Returns:
            list of ImageFeatures: T, newest first.

        Raises:
            ValueError: when T is not what the lifter needs.
        """
        lifted, stereo = self.lifter.num_frames, self.lifter.stereo
        if imgs.shape[1] != lifted + stereo:
            needs = tuple(range(0, -lifted - stereo, -1))
            raise ValueError(
                f'{type(self.lifter).__name__} needs T = {lifted + stereo} '
                f'frames ({lifted} to lift, {int(stereo)} to match with), '
                f'the images have T = {imgs.shape[1]}: set frames={needs} '
                'of LoadMultiViewImages in all pipelines'
            )
        # newest first: autocast keeps what it has cast, in older versions of
        # PyTorch also weights without gradient for the frame that learns
        current, *past = imgs.unbind(dim=1)
        features = [self._encode(current)]
        with torch.no_grad():
            features += [self._encode(frame) for frame in past[: lifted - 1]]
            if stereo:
                features.append(self._encode_to_match(past[-1]))
        return features

    def _encode(self, imgs: Tensor) -> ImageFeatures:
        """Images (B, N, 3, H, W) of one frame."""
        views, stereo = imgs.shape[:2], None
        maps = self.img_backbone(imgs.flatten(0, 1))
        if self.lifter.stereo:
            stereo, *maps = maps
            stereo = stereo.unflatten(0, views)
        levels = all_maps(maps, self.img_neck)
        levels = tuple(level.unflatten(0, views) for level in levels)
        return ImageFeatures(levels, stereo)

    def _encode_to_match(self, imgs: Tensor) -> ImageFeatures:
        """Images (B, N, 3, H, W) of one frame, its stereo map alone."""
        stereo = first_stage(self.img_backbone, imgs.flatten(0, 1))
        return ImageFeatures((), stereo.unflatten(0, imgs.shape[:2]))


def _check_stereo_map(backbone: nn.Module, lifter: nn.Module) -> None:
    """Frames are matched by one map: the backbone's first stage."""
    stages = tuple(getattr(backbone, 'out_indices', (0,)))
    if lifter.stereo and stages[0] != 0:
        raise ValueError(
            f'{type(lifter).__name__} matches frames by the first stage of '
            f'{type(backbone).__name__}, whose out_indices are {stages}: '
            'let them start with 0, or set stereo=False'
        )


def build_optional(cfg: dict | None) -> nn.Module | None:
    """What a config describes, or nothing."""
    return None if cfg is None else MODELS.build(cfg)
