"""IoU of labels as pure arithmetic: voxels, and columns and pixels as well.

Shape letters: K classes, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from occsplat.structures import LabelSpec, same_shape

from .counts import Counts, NumberByClass, mean_of_defined, of_classes, ratio
from .fields import check_ids


@dataclass
class VoxelCounts(Counts):
    """All that voxel IoUs need to know of any number of frames.

    What is said of voxels goes for anything that has a true and a
    predicted class, such as the pixels of class images.

    Attributes:
        frames: number of frames.
        voxels: voxels that count.
        truth: those by true class, (K,).
        predicted: those by predicted class, (K,).
        matched: those where both agree, (K,).
        both: voxels that are occupied in truth and prediction.
        either: voxels that are occupied in at least one of them.
    """

    frames: int
    voxels: int
    truth: NumberByClass
    predicted: NumberByClass
    matched: NumberByClass
    both: int
    either: int

    def iou(self) -> np.ndarray:
        """IoU by class, (K,); nan for absent classes."""
        union = self.truth + self.predicted - self.matched
        return ratio(self.matched, union)

    def summary(
        self, spec: LabelSpec, lead: str = '', unseen: float | None = None
    ) -> dict[str, float]:
        """The flat dictionary of metrics, fractions of one.

        Args:
            spec (LabelSpec): names of the classes.
            lead (str): what every key begins with.
            unseen (float, optional): IoU of classes that the truth never
                has; 0 unless given, and left out of the mean where the
                prediction does not have them either.

        Returns:
            dict: mIoU, the mean over all classes but free (classes absent
            from truth and prediction left out); IoU, occupied against
            free; and ``mIoU_<class>``.
        """
        iou = self.iou()
        if unseen is not None:
            iou = np.where(self.truth > 0, iou, unseen)
        return {
            f'{lead}mIoU': mean_of_defined(iou[list(spec.occupied)]),
            f'{lead}IoU': float(ratio(self.both, self.either)),
            **of_classes(f'{lead}mIoU', iou, spec, spec.occupied),
        }


def count_voxels(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    spec: LabelSpec,
    mask: Tensor | None = None,  # (X, Y, Z)
) -> VoxelCounts:
    """Count agreement of two label volumes.

    Both may have any other shape as well, as long as it is the same.

    Args:
        pred_occ (Tensor): predicted class ids.
        gt_occ (Tensor): true class ids; voxels with the ignore id do not
            count, whatever was predicted there.
        spec (LabelSpec): meaning of the ids.
        mask (Tensor, optional): bool, the voxels that count.

    Returns:
        VoxelCounts: of this one frame.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    same_shape('pred_occ', pred_occ.shape, gt_occ.shape)
    truth, guess = gt_occ.cpu(), pred_occ.cpu()
    kept = truth != spec.ignore
    if mask is not None:
        same_shape('mask', mask.shape, gt_occ.shape)
        kept &= mask.cpu().bool()
    truth, guess = truth[kept].long(), guess[kept].long()
    for name, ids in (('gt_occ', truth), ('pred_occ', guess)):
        check_ids(name, ids, spec)
    size = spec.num_classes
    pairs = torch.bincount(truth * size + guess, minlength=size * size)
    confusion = pairs.reshape(size, size).numpy()
    solid = np.array(spec.occupied)
    return VoxelCounts(
        frames=1,
        voxels=len(truth),
        truth=confusion.sum(axis=1),
        predicted=confusion.sum(axis=0),
        matched=confusion.diagonal().copy(),
        both=int(confusion[np.ix_(solid, solid)].sum()),
        either=len(truth) - int(confusion[spec.free, spec.free]),
    )


def without_ignored(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    spec: LabelSpec,
) -> tuple[Tensor, Tensor]:
    """Both volumes with nothing where the truth is not known.

    What is seen from afar, in an image or from above, can't leave single
    voxels out of the count. Instead voxels that the truth ignores are free
    in truth and prediction: neither sees them, both see what is behind.

    Args:
        pred_occ (Tensor): predicted class ids.
        gt_occ (Tensor): true class ids.
        spec (LabelSpec): meaning of the ids.

    Returns:
        tuple: prediction and truth, copies on the CPU.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    same_shape('pred_occ', pred_occ.shape, gt_occ.shape)
    truth, guess = gt_occ.cpu(), pred_occ.cpu()
    unknown = truth == spec.ignore
    truth, guess = (x.masked_fill(unknown, spec.free) for x in (truth, guess))
    check_ids('gt_occ', truth, spec)
    check_ids('pred_occ', guess, spec)
    return guess, truth
