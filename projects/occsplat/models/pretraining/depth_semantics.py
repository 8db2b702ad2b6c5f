"""Depth and semantics of the key frame's pixels, from LiDAR returns.

Shape letters: B batch, N cameras, C context channels, D depth bins, K
classes that are not free, H W feature map, h w network-input image.

::

    imgs (B, 1, N, 3, h, w)
      -> img_backbone, img_neck   features (B, N, C', H, W)
      -> lifter.depth_net         context (B, N, C, H, W), depth logits
      -> semantic_head            class logits of each cell
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor, nn

from occsplat.ops import nearest_in_cells, read_pixels
from occsplat.structures import LabelSpec, OccBatch, OccDataSample
from occsplat.structures.checks import NonNegative, checked

from ..finite import require_finite_values, run_finite
from ..image_features import context_map, full_precision


class CellLogits(NamedTuple):
    """What the network says of each cell of the feature map.

    Attributes:
        depth (Tensor): (B, N, D, H, W).
        semantics (Tensor): (B, N, K, H, W), free left out.
    """

    depth: Tensor
    semantics: Tensor


@MODELS.register_module()
class DepthSemanticPretraining(BaseModel):
    """Teach an image encoder depth and classes before it is a detector's.

    The backbone, neck and depth net of a detector, with the detector's
    names, so that any that has them takes the checkpoint by ``load_from``.
    No volume is computed: a step costs a fraction of the detector's.

    Depths are learned as a distribution over the lifter's bins, in the
    cells of the feature map that hold a LiDAR return within the bins; the
    nearest return of a cell counts, as in the detectors' depth loss
    (BEVDepth, Li et al. 2022). The loss is the cross-entropy of the bins,
    which are exclusive; the detectors' sum of binary ones is some D times
    as large where nothing is known yet. Classes are learned in the same
    cells and of the same returns, by one 1x1 convolution on the context:
    what is lifted into the volume knows what it is.

    Args:
        img_backbone (dict): of the detector. Maps that are finer than what
            the neck takes, those of a stereo matching, are not used.
        lifter (dict): of the detector, with ``stereo=False`` where it
            could match frames: its depth net is all that is kept of it.
        img_neck (dict, optional): of the detector.
        label_spec (str | LabelSpec): meaning of the class ids.
        depth_weight (float): weight of the depth loss.
        semantic_weight (float): weight of the class loss.
        data_preprocessor (dict, optional): see OccDataPreprocessor.
        init_cfg (dict, optional): as in mmengine.

    Raises:
        ValueError: when the lifter matches frames.
    """

    @checked
    def __init__(
        self,
        img_backbone: dict,
        lifter: dict,
        img_neck: dict | None = None,
        label_spec: str | LabelSpec = 'openocc',
        depth_weight: NonNegative = 1.0,
        semantic_weight: NonNegative = 1.0,
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
        self.spec = LabelSpec.named(label_spec)
        self.img_backbone = MODELS.build(img_backbone)
        self.img_neck = None if img_neck is None else MODELS.build(img_neck)
        self.num_maps = len(img_neck['in_channels']) if img_neck else None
        whole = MODELS.build(lifter)
        if whole.stereo:
            raise ValueError(
                'pre-training sees one frame, but '
                f'{type(whole).__name__} matches two: set stereo=False and '
                'num_frames=1 in the lifter. Where the detector matches, '
                'all but the weights that read the matches will fit'
            )
        self.bins = whole.bins
        # nothing else of it would learn here; the name is the detector's
        self.lifter = nn.ModuleDict(dict(depth_net=whole.depth_net))
        self.semantic_head = nn.Conv2d(
            whole.depth_net.context.out_channels, len(self.spec.occupied), 1
        )
        self.depth_weight = depth_weight
        self.semantic_weight = semantic_weight
        occupied = torch.tensor(self.spec.occupied)
        rank = torch.full((256,), -1)
        rank[occupied] = torch.arange(len(occupied))
        # class id of each output, and output of each class id or -1
        self.register_buffer('occupied', occupied, persistent=False)
        self.register_buffer('rank', rank, persistent=False)

    def forward(
        self,
        inputs: dict[str, Tensor],
        data_samples: list[OccDataSample],
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list[OccDataSample] | CellLogits:
        """As in mmengine: mode is 'loss', 'predict' or 'tensor'.

        Raises:
            NonFiniteError: when a prediction or loss is NaN or infinite.
            ValueError: for any other mode, or images of several frames.
        """
        steps = dict(
            loss=self.loss, predict=self.predict, tensor=self._predict
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
        logits = self._encode(inputs['imgs'], batch)
        nearest, pixel = nearest_in_cells(
            batch.gt_depth,
            logits.depth.shape[-2:],
            self.bins.start,
            self.bins.stop,
        )
        label = read_pixels(batch.gt_pixel_semantics, pixel).long()
        known = nearest > 0
        classes = torch.where(known, self.rank[label], -1)
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
        logits = self._predict(inputs, data_samples)
        depth = self.bins.centers(logits.depth.device)
        depth = depth[logits.depth.argmax(dim=2)]
        classes = self.occupied[logits.semantics.argmax(dim=2)]
        for i, sample in enumerate(data_samples):
            sample.pred_depth = depth[i]
            sample.pred_pixel_semantics = classes[i].to(torch.uint8)
        return data_samples

    def _predict(
        self, inputs: dict[str, Tensor], data_samples: list[OccDataSample]
    ) -> CellLogits:
        logits = self._encode(inputs['imgs'], OccBatch.collate(data_samples))
        require_finite_values(logits._asdict())
        return logits

    def _encode(self, imgs: Tensor, batch: OccBatch) -> CellLogits:
        """Images (B, 1, N, 3, h, w) to logits of every cell."""
        if imgs.shape[1] != 1:
            raise ValueError(
                'pre-training sees one frame, the images have T = '
                f'{imgs.shape[1]}: set frames=(0,) of LoadMultiViewImages in '
                'all pipelines'
            )
        views = imgs[:, 0].shape[:2]
        maps = self.img_backbone(imgs[:, 0].flatten(0, 1))
        if self.num_maps is not None:
            maps = maps[-self.num_maps :]
        features = context_map(maps, self.img_neck)
        with full_precision(imgs):
            context, depth = self.lifter.depth_net(
                features.unflatten(0, views).float(), batch.rig[:, 0]
            )
            semantics = self.semantic_head(context.flatten(0, 1))
        return CellLogits(depth, semantics.unflatten(0, views))


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
