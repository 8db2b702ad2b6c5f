"""Labels of larger voxels.

Shape letters: X Y Z voxels, a b c of them in a larger one along each axis,
S = a b c.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from occsplat.structures import LabelSpec

#: more than any class id
IDS = 256


def pool_labels(
    labels: Tensor, stride: Sequence[int], spec: LabelSpec
) -> Tensor:
    """Let the voxels in a larger one vote.

    It takes the class that most of its occupied children have (the lowest
    id of several), is free if none is occupied, and 'ignore' only if all
    its children are.

    Args:
        labels (Tensor): ids, (..., X, Y, Z).
        stride (sequence of int): (a, b, c), which divide X, Y and Z.
        spec (LabelSpec): meaning of the ids.

    Returns:
        Tensor: of the same type, (..., X / a, Y / b, Z / c).

    Raises:
        ValueError: when the stride does not divide the labels.
    """
    children = voxel_children(labels, stride)
    ignored = (children == spec.ignore).all(dim=-1)
    solid = spec.is_occupied(children)
    pooled = torch.full_like(children[..., 0], spec.free)
    pooled = pooled.masked_fill(ignored, spec.ignore)
    # few voxels are occupied: only they are worth a vote
    occupied = solid.any(dim=-1)
    voters = children[occupied].long()  # (n, S)
    ballot = torch.arange(len(voters), device=labels.device)[:, None] * IDS
    ballot = (ballot + voters)[solid[occupied]]
    votes = torch.bincount(ballot, minlength=len(voters) * IDS)
    # of classes with as many votes argmax may take any
    most = votes.view(-1, IDS)
    lowest = torch.arange(IDS, 0, -1, device=labels.device)
    winner = (most * (IDS + 1) + lowest).argmax(dim=1)
    pooled[occupied] = winner.to(pooled.dtype)
    return pooled


def voxel_children(volume: Tensor, stride: Sequence[int]) -> Tensor:
    """The voxels in each larger one, (..., X/a, Y/b, Z/c, S).

    Args:
        volume (Tensor): (..., X, Y, Z).
        stride (sequence of int): (a, b, c).

    Raises:
        ValueError: when the stride does not divide the volume.
    """
    shape = volume.shape[-3:]
    if any(n % s for n, s in zip(shape, stride)):
        raise ValueError(
            f'a volume of {tuple(shape)} voxels does not divide into '
            f'blocks of {tuple(stride)}'
        )
    a, b, c = stride
    blocks = volume.unflatten(-3, (-1, a)).unflatten(-2, (-1, b))
    blocks = blocks.unflatten(-1, (-1, c))  # (..., x, a, y, b, z, c)
    lead = blocks.dim() - 6
    order = (0, 2, 4, 1, 3, 5)
    blocks = blocks.permute(*range(lead), *(lead + i for i in order))
    return blocks.flatten(-3)
