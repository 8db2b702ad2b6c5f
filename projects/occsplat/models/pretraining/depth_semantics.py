"""Depth and semantics of the key frame's pixels, from LiDAR returns.

Shape letters: B batch, T frames, N cameras, C context channels, D depth
bins, K classes that are not free, H W feature map, h w network-input image.

::

    imgs (B, T, N, 3, h, w), newest frame first
      -> img_backbone, img_neck   ImageFeatures of each frame
      -> lifter.look              context (B, N, C, H, W), depth logits
      -> semantic_head            class logits of each cell
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.ops import nearest_in_cells, read_pixels
from occsplat.structures import LabelSpec, OccBatch, OccDataSample
from occsplat.structures.checks import NonNegative, checked

from ..finite import require_finite_values, run_finite
from ..image_features import full_precision
from ..multi_camera import MultiCameraModel


class CellLogits(NamedTuple):
    """What the network says of each cell of the feature map.

    Attributes:
        depth (Tensor): (B, N, D, H, W).
        semantics (Tensor): (B, N, K, H, W), free left out.
    """

    depth: Tensor
    semantics: Tensor


@MODELS.register_module()
class DepthSemanticPretraining(MultiCameraModel):
    """Teach an image encoder depth and classes before it is a detector's.

    The backbone, neck and lifter of a detector, with the detector's names,
    so that any that has them takes the checkpoint by ``load_from``. No
    volume is computed: a step costs a fraction of the detector's. What the
    lifter does to volumes is left out in its config, as it would learn
    nothing: ``backward`` of FBOccLifter, ``pre_process`` of StereoLifter.

    Depths are learned as a distribution over the lifter's bins, in the
    cells of the feature map that hold a LiDAR return within the bins; the
    nearest return of a cell counts, as in the detectors' depth loss
    (BEVDepth, Li et al. 2022). The loss is the cross-entropy of the bins,
    which are exclusive; the detectors' sum of binary ones is some D times
    as large where nothing is known yet. Classes are learned in the same
    cells and of the same returns, by one 1x1 convolution on the context:
    what is lifted into the volume knows what it is.

    Args:
        img_backbone (dict): of the detector.
        lifter (dict): of the detector, with ``num_frames=1``. One that
            matches frames reads one more frame, as in the detector.
        img_neck (dict, optional): of the detector.
        label_spec (str | LabelSpec): meaning of the class ids.
        depth_weight (float): weight of the depth loss.
        semantic_weight (float): weight of the class loss.
        data_preprocessor (dict, optional): see OccDataPreprocessor.
        init_cfg (dict, optional): as in mmengine.

    Raises:
        ValueError: when the lifter lifts several frames.
    """

    @checked
    def __init__(
        self,
        img_backbone: dict,
        lifter: dict,
        label_spec: str | LabelSpec,
        img_neck: dict | None = None,
        depth_weight: NonNegative = 1.0,
        semantic_weight: NonNegative = 1.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            img_backbone, lifter, img_neck, data_preprocessor, init_cfg
        )
        if self.lifter.num_frames != 1:
            raise ValueError(
                'pre-training looks at the current frame: set num_frames=1 '
                f'in the lifter, got {self.lifter.num_frames}'
            )
        self.spec = LabelSpec.named(label_spec)
        self.bins = self.lifter.bins
        self.semantic_head = nn.Conv2d(
            self.lifter.depth_net.context.out_channels,
            len(self.spec.occupied),
            1,
        )
        self.depth_weight = depth_weight
        self.semantic_weight = semantic_weight
        occupied = torch.tensor(self.spec.occupied)
        # class id of each output
        self.register_buffer('occupied', occupied, persistent=False)

    def forward(
        self,
        inputs: dict[str, Tensor],
        data_samples: list[OccDataSample],
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list[OccDataSample] | CellLogits:
        """As in mmengine: mode is 'loss', 'predict' or 'tensor'.

        Raises:
            NonFiniteError: when a prediction or loss is NaN or infinite.
            ValueError: for any other mode, or images of other frames than
                the lifter reads.
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
        """Cross-entropies of depth bins and classes, a mean over cells.

        Returns:
            dict: loss_depth, loss_semantics; zero where no cell counts.

        Raises:
            ValueError: when the samples have no depths or classes.
        """
        batch = OccBatch.collate(data_samples)
        if batch.gt_depth is None or batch.gt_pixel_semantics is None:
            raise ValueError(
                'the pre-training needs depths and classes of pixels: add '
                'LidarSemantics to the training pipeline'
            )
        logits = self._cells(inputs['imgs'], batch)
        nearest, pixel = nearest_in_cells(
            batch.gt_depth,
            logits.depth.shape[-2:],
            self.bins.start,
            self.bins.stop,
        )
        label = read_pixels(batch.gt_pixel_semantics, pixel).long()
        known = nearest > 0
        classes = torch.where(known, self.spec.channels_of(label), -1)
        bins = torch.where(known, self.bins.index(nearest), -1)
        losses = dict(
            loss_depth=self.depth_weight * _entropy(logits.depth, bins),
            loss_semantics=self.semantic_weight
            * _entropy(logits.semantics, classes),
        )
        require_finite_values(logits._asdict(), losses)
        return losses

    def predict(
        self, inputs: dict[str, Tensor], data_samples: list[OccDataSample]
    ) -> list[OccDataSample]:
        """Fill in ``pred_depth`` and ``pred_pixel_semantics``, (N, H, W).

        The depth is the middle of the most likely bin. A mean would lie
        where nothing is in the many cells that see an edge: between the
        object and what is behind it.
        """
        logits = self._forward(inputs, data_samples)
        depth = self.bins.centers(logits.depth.device)
        depth = depth[logits.depth.argmax(dim=2)]
        classes = self.occupied[logits.semantics.argmax(dim=2)]
        for i, sample in enumerate(data_samples):
            sample.pred_depth = depth[i]
            sample.pred_pixel_semantics = classes[i].to(torch.uint8)
        return data_samples

    def _forward(
        self, inputs: dict[str, Tensor], data_samples: list[OccDataSample]
    ) -> CellLogits:
        """What mode 'tensor' gives; mmdet3d's tools call it by this name."""
        logits = self._cells(inputs['imgs'], OccBatch.collate(data_samples))
        require_finite_values(logits._asdict())
        return logits

    def _cells(self, imgs: Tensor, batch: OccBatch) -> CellLogits:
        """Images (B, T, N, 3, h, w) to logits of every cell."""
        features = self.image_encoder(imgs)
        with full_precision(imgs):
            context, depth = self.lifter.look(
                [frame.float() for frame in features], batch.rig
            )
            semantics = self.semantic_head(context.flatten(0, 1))
        return CellLogits(depth, semantics.unflatten(0, context.shape[:2]))


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of cells, the unknown (-1) left out.

    Args:
        logits (Tensor): (B, N, D or K, H, W).
        target (Tensor): int64 (B, N, H, W).
    """
    total = F.cross_entropy(
        logits.movedim(2, -1).flatten(0, -2),
        target.flatten(),
        ignore_index=-1,
        reduction='sum',
    )
    return total / (target >= 0).sum().clamp(min=1)
