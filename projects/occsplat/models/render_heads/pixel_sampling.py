"""Which labelled pixels a step looks at, and what for.

Shape letters: P labelled pixels, S semantic classes (free excluded).
"""

from __future__ import annotations

from typing import Iterable

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import LabelSpec, PixelLabels, VoxelGrid
from occsplat.structures.checks import Count, checked

#: how steeply rarity counts, see rarity_weights
RARITY = 0.005


@MODELS.register_module()
class AllPixels(nn.Module):
    """Every labelled pixel, and a loss weighs it (GSRender).

    Args:
        label_spec (str | LabelSpec): the head's, not read.
    """

    #: whether discounts say how often a pixel counts, instead of how much
    draws = False

    @checked
    def __init__(self, label_spec: str | LabelSpec) -> None:
        super().__init__()

    def forward(
        self, labels: PixelLabels, discounts: Iterable[tuple[Tensor, float]]
    ) -> PixelLabels:
        """The labels as they are."""
        return labels


@MODELS.register_module()
class RarePixels(nn.Module):
    """A number of pixels per sample, out of all frames, by rarity.

    Section III-E of RenderOcc (ICRA 2024). How often a pixel is drawn is
    the rarity of its class times its discounts: these then say how often
    a pixel counts instead of how much, nothing where there are fewer
    pixels than that and they are not 0, and one loss takes in all frames.

    Args:
        num_pixels (int): pixels drawn per sample.
        label_spec (str | LabelSpec): the head's.
    """

    draws = True

    @checked
    def __init__(self, num_pixels: Count, label_spec: str | LabelSpec) -> None:
        super().__init__()
        self.num_pixels = num_pixels
        self.spec = spec = LabelSpec.named(label_spec)
        counts = spec.image_returns or [spec.counts[i] for i in spec.occupied]
        self.register_buffer(
            'rarity', rarity_weights(torch.tensor(counts)), persistent=False
        )

    def forward(
        self, labels: PixelLabels, discounts: Iterable[tuple[Tensor, float]]
    ) -> PixelLabels:
        """Draw.

        Args:
            labels (PixelLabels): P pixels; an infinite depth says that
                their ray is free.
            discounts: pixels, bool (P,), and how often one of them is
                drawn relative to others.

        Returns:
            PixelLabels: at most ``num_pixels`` of them.
        """
        weights = self.rarity[self.spec.channels_of(labels.label)]
        # a free ray is nothing rare, whatever is at its end
        weights = torch.where(labels.depth.isfinite(), weights, 1.0)
        for pixels, factor in discounts:
            weights = torch.where(pixels, factor * weights, weights)
        return labels.chosen(draw_pixels(weights, self.num_pixels))


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
