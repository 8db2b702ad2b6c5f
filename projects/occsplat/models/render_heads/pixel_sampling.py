"""Which labelled pixels a step looks at, and what for.

Shape letters: P labelled pixels, S semantic classes (free excluded).
"""

from __future__ import annotations

import torch
from torch import Tensor

from occsplat.structures import VoxelGrid

#: how steeply rarity counts, see rarity_weights
RARITY = 0.005


def rarity_weights(counts: Tensor) -> Tensor:
    """RenderOcc's preference for rare classes, (S,).

    ``exp(0.005 * (max / count - 1))``: 1 for the most frequent class, and
    900 for bicycles. As in section III-E of RenderOcc (ICRA 2024), with
    the released code's numbers.
    """
    counts = counts.double().clamp(min=1)
    return (RARITY * (counts.max() / counts - 1)).exp().float()


def draw_pixels(weights: Tensor, count: int) -> Tensor:
    """Draw pixels without replacement.

    Args:
        weights (Tensor): how often each is wanted, not negative, (P,).
        count (int): how many; all that have a weight if there are fewer.

    Returns:
        Tensor: indices in rising order, at most (count,).
    """
    wanted = weights.nonzero()[:, 0]
    if len(wanted) <= count:
        return wanted
    # the largest keys log(u) / w are a draw by weight without replacement
    # (Efraimidis and Spirakis, 2006); multinomial stops at 2^24 pixels
    keys = torch.rand_like(weights[wanted]).log() / weights[wanted]
    return wanted[keys.topk(count).indices].sort().values


def where_rays_end(
    grid: VoxelGrid,
    origins: Tensor,
    directions: Tensor,
    depth: Tensor,
    ref2frame: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Whether the surfaces that rays meet lie in a volume or beyond it.

    A ray whose surface lies in front of the volume, or that never enters
    it, is neither: it says nothing of the volume.

    Args:
        grid (VoxelGrid): the volume.
        origins (Tensor): where rays start, reference frame, (P, 3).
        directions (Tensor): (P, 3).
        depth (Tensor): of the surfaces, in multiples of the direction,
            (P,).
        ref2frame (Tensor, optional): reference frame -> another one,
            (4, 4). The volume then is the overlap of the grid in both.

    Returns:
        tuple: surfaces inside, and rays that cross all of the volume
        before they meet theirs, bool (P,) each.
    """
    points = origins + depth[:, None] * directions
    inside = grid.locate(points)[1]
    enter, leave = grid.crossing(origins, directions)
    if ref2frame is not None:
        turn, offset = ref2frame[:3, :3].T, ref2frame[:3, 3]
        inside = inside & grid.locate(points @ turn + offset)[1]
        other = grid.crossing(origins @ turn + offset, directions @ turn)
        enter = torch.maximum(enter, other[0])
        leave = torch.minimum(leave, other[1])
    return inside, ~inside & (enter < leave) & (leave <= depth)
