"""The one detector: hosts differ only in what is plugged into it.

Shape letters: B batch, T frames, N cameras, C channels, X Y Z voxels,
K classes.

::

    imgs (B, T, N, 3, H, W), newest frame first
      -> img_backbone, img_neck   ImageFeatures of each frame
      -> lifter                   volume (B, C, X, Y, Z), or several of them
      -> history (optional)       volume, fused with its past
      -> volume_encoder           volume levels, finest first
      -> offset_head (optional)   offsets, levels that have seen them
      -> occ_head                 OccPrediction
      -> render_heads (training)  losses on renders of the prediction
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterable, Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import (
    CameraRig,
    OccBatch,
    OccDataSample,
    OccPrediction,
)
from occsplat.structures.checks import checked

from .finite import require_finite, run_finite
from .image_features import full_precision
from .interfaces import (
    Lifted,
    OccHead,
    RenderHead,
    VolumeEncoder,
    as_levels,
)
from .lifting import RememberedVolumes
from .multi_camera import MultiCameraModel, build_optional


@MODELS.register_module()
class OccDetector(MultiCameraModel):
    """Multi-camera 3D occupancy (and flow) detector.

    ``interfaces`` says what the parts have to be; any class that is so will
    do.

    Args:
        img_backbone (dict): image backbone. For a lifter with ``stereo``
            its first output is the map that frames are matched by.
        lifter (dict): image features -> volume; owns its depth loss. Its
            attributes ``num_frames`` and ``stereo`` say what it reads.
        occ_head (dict): volume levels -> occupancy and flow.
        img_neck (dict, optional): image neck.
        history (dict, optional): streaming fusion of past volumes.
        volume_encoder (dict, optional): 3D network before the head.
        offset_head (dict, optional): levels -> offsets to the ends of
            runs, and levels for the occupancy head; see OffsetHead.
        render_heads (sequence of dict): train-only losses on renders of
            the prediction. They change neither the state dict of the
            rest nor one bit of what is predicted.
        frozen (sequence of str): modules that have learned before and are
            only read, such as 'img_backbone': no gradient, evaluation
            mode. A short training learns more from more samples than from
            finer features.
        remember (int): samples whose volumes are kept in memory while the
            rest learns, for an encoder that is all frozen; see
            RememberedVolumes.
        data_preprocessor (dict, optional): see OccDataPreprocessor.
        init_cfg (dict, optional): as in mmengine.

    Raises:
        ValueError: when the lifter matches frames and the backbone's
            outputs do not start with its first stage, ``frozen`` names no
            module, volumes are to be remembered that still change, or
            those of several resolutions.
    """

    volume_encoder: VolumeEncoder | None
    occ_head: OccHead
    render_heads: Iterable[RenderHead]

    @checked
    def __init__(
        self,
        img_backbone: dict,
        lifter: dict,
        occ_head: dict,
        img_neck: dict | None = None,
        history: dict | None = None,
        volume_encoder: dict | None = None,
        offset_head: dict | None = None,
        render_heads: Sequence[dict] = (),
        frozen: Sequence[str] = (),
        remember: int = 0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            img_backbone, lifter, img_neck, data_preprocessor, init_cfg
        )
        if getattr(self.lifter, 'num_volumes', 1) > 1:
            _check_no_memory(self.lifter, history, remember)
        self.history = build_optional(history)
        self.volume_encoder = build_optional(volume_encoder)
        self.occ_head = MODELS.build(occ_head)
        # a head with weights of its own draws them beside the generator:
        # with the same seed the rest starts like the baseline
        with torch.random.fork_rng(devices=[]):
            self.offset_head = build_optional(offset_head)
        with torch.random.fork_rng(devices=[]):
            self.render_heads = nn.ModuleList(map(MODELS.build, render_heads))
        self.frozen = tuple(frozen)
        for name in self.frozen:
            if not isinstance(getattr(self, name, None), nn.Module):
                there = [key for key, _ in self.named_children()]
                raise ValueError(
                    f'frozen names no module of the detector: {name!r}, '
                    f'expected some of {there}'
                )
            getattr(self, name).requires_grad_(False).eval()
        self.remembered = None
        if remember:
            _check_all_frozen(self)
            self.remembered = RememberedVolumes(remember)
            self.register_load_state_dict_post_hook(
                lambda model, _: model.remembered.forget()
            )

    def train(self, mode: bool = True) -> OccDetector:
        """Switch mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            getattr(self, name).eval()
        return self

    def set_warmup(self, warmup: bool) -> None:
        """Enter or leave the warm-up stage of training.

        Modules that behave differently while the network warms up
        (history, flow losses) carry a ``warmup`` attribute.
        """
        for module in self.modules():
            if hasattr(module, 'warmup'):
                module.warmup = warmup

    def forward(
        self,
        inputs: dict[str, Tensor],
        data_samples: list[OccDataSample],
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list[OccDataSample] | OccPrediction:
        """As in mmengine: mode is 'loss', 'predict' or 'tensor'.

        Raises:
            NonFiniteError: when a prediction or loss is NaN or infinite.
            ValueError: for any other mode.
        """
        steps = dict(
            loss=self.loss, predict=self.predict, tensor=self._forward
        )
        if mode not in steps:
            raise ValueError(
                f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}"
            )
        return run_finite(self, steps[mode], inputs, data_samples)

    def loss(
        self, inputs: dict[str, Tensor], data_samples: list[OccDataSample]
    ) -> dict[str, Tensor]:
        """Losses of the lifter and of all heads.

        Where two render heads are of one kind, the names of the later
        one's losses end with its place in ``render_heads``.
        """
        batch = OccBatch.collate(data_samples)
        volume, prediction, lifted = self._predict_volume(
            inputs['imgs'], batch
        )
        with full_precision(inputs['imgs']):
            losses = dict(self.occ_head.loss(prediction, batch))
            losses.update(self.lifter.loss(lifted, batch))
            if self.offset_head:
                losses.update(self.offset_head.loss(volume, prediction, batch))
            kinds = set()
            for i, head in enumerate(self.render_heads):
                ending = f'_{i}' if type(head) in kinds else ''
                kinds.add(type(head))
                own = head.loss(volume, prediction, batch)
                losses.update({f'{k}{ending}': v for k, v in own.items()})
        require_finite(prediction, losses)
        return losses

    def predict(
        self, inputs: dict[str, Tensor], data_samples: list[OccDataSample]
    ) -> list[OccDataSample]:
        """Predict and fill it in, see ``add_prediction``."""
        prediction = self._forward(inputs, data_samples)
        return self.add_prediction(prediction, data_samples)

    def add_prediction(
        self, prediction: OccPrediction, data_samples: list[OccDataSample]
    ) -> list[OccDataSample]:
        """Fill in what is predicted, one field each.

        ``pred_occ`` (X, Y, Z), ``pred_flow`` (X, Y, Z, 2) and
        ``pred_offsets`` (6, x, y, z), those that the heads predict, and
        ``pred_opacity`` where the head goes by an opacity threshold.
        """
        threshold = getattr(self.occ_head, 'opacity_threshold', None)
        opacity = None
        if threshold is None:
            occ, flow = self.occ_head.predict(prediction)
        else:
            opacity = self.occ_head.opacity(prediction)
            occ, flow = opacity.at(threshold)
        for i, sample in enumerate(data_samples):
            sample.pred_occ = occ[i]
            if opacity is not None:
                sample.pred_opacity = opacity[i]
            if flow is not None:
                sample.pred_flow = flow[i]
            if prediction.offsets is not None:
                sample.pred_offsets = prediction.offsets[i]
        return data_samples

    def _forward(
        self, inputs: dict[str, Tensor], data_samples: list[OccDataSample]
    ) -> OccPrediction:
        """What mode 'tensor' gives; mmdet3d's tools call it by this name."""
        batch = OccBatch.collate(data_samples)
        prediction = self._predict_volume(inputs['imgs'], batch)[1]
        require_finite(prediction)
        return prediction

    def _lift(self, imgs: Tensor, rig: CameraRig) -> tuple[Lifted, Any]:
        """Images (B, T, N, 3, H, W) to the lifter's two outputs."""
        features = self.image_encoder(imgs)
        with full_precision(imgs):
            return self.lifter([frame.float() for frame in features], rig)

    def _predict_volume(
        self, imgs: Tensor, batch: OccBatch
    ) -> tuple[Lifted, OccPrediction, Any]:
        lifted = None
        volume: Any
        if self.remembered is not None and self.training:
            volume = self.remembered(
                lambda *seen: self._lift(*seen)[0], imgs, batch.rig
            )
        else:
            volume, lifted = self._lift(imgs, batch.rig)
        with full_precision(imgs):
            if self.history is not None:
                volume = self.history(volume, batch.metas)
            levels: Any = as_levels(volume)
            if self.volume_encoder is not None:
                levels = self.volume_encoder(volume)
            offsets = None
            if self.offset_head is not None:
                levels, offsets = self.offset_head(levels)
            prediction = replace(self.occ_head(levels), offsets=offsets)
            return volume, prediction, lifted


def _check_no_memory(
    lifter: nn.Module, history: dict | None, remember: int
) -> None:
    """What keeps volumes keeps those of one resolution."""
    for name, asked in (('history', history), ('remember', remember)):
        if asked:
            raise ValueError(
                f'{type(lifter).__name__} lifts volumes of several '
                f'resolutions, which {name} cannot keep: leave {name} out'
            )


def _check_all_frozen(detector: OccDetector) -> None:
    """A volume that is remembered must be the one that would be lifted."""
    parts = ['img_backbone', 'img_neck', 'lifter']
    learns = [
        part
        for part in parts
        if getattr(detector, part) is not None and part not in detector.frozen
    ]
    if learns:
        raise ValueError(
            f'remember needs frozen to name {parts}, as far as there are '
            f'such; {learns} still learn and would change the volumes'
        )
    weight = getattr(detector.lifter, 'depth_weight', 0)
    if weight:
        raise ValueError(
            'remember keeps no depths that a loss could be computed of: '
            f'set depth_weight=0 in the lifter, got {weight}'
        )
