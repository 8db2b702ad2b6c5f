"""Summing weighted features into voxels.

Shape letters: S sources (feature cells), P points, C channels, V voxels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def voxel_pooling(
    features: Tensor,
    weights: Tensor,
    source: Tensor,
    voxel: Tensor,
    num_voxels: int,
) -> Tensor:
    """Sum the weighted features of all points that fall into each voxel.

    ``out[v] = sum over points p with voxel[p] = v of
    weights[p] * features[source[p]]``: the "splat" of Lift, Splat, Shoot
    (Philion and Fidler, 2020), where a feature cell is the source of one
    point per depth bin and the weight is that bin's probability. To
    torch this is an embedding bag per voxel, which never copies a
    feature for each of its points (BEVPoolv2, Huang and Huang, 2022):
    memory is O(P + S * C), not O(P * C).

    Args:
        features (Tensor): (S, C).
        weights (Tensor): of the same dtype, (P,).
        source (Tensor): row of ``features`` of each point, int64 (P,).
        voxel (Tensor): voxel of each point, int64 (P,), 0 <= voxel < V.
        num_voxels (int): V.

    Returns:
        Tensor: (V, C), zero where no point falls; differentiable once in
        features and weights.

    Raises:
        ValueError: when shapes or dtypes do not fit.
    """
    if features.dim() != 2 or not (
        weights.shape == source.shape == voxel.shape == (len(weights),)
    ):
        raise ValueError(
            'voxel_pooling expects features (S, C) and weights, source, '
            f'voxel (P,), got {tuple(features.shape)} and '
            f'{tuple(weights.shape)}, {tuple(source.shape)}, '
            f'{tuple(voxel.shape)}'
        )
    if features.dtype != weights.dtype:
        raise ValueError(
            'voxel_pooling expects features and weights of one dtype, got '
            f'{features.dtype} and {weights.dtype}'
        )
    # bags are consecutive runs: order the points by voxel
    voxel, order = voxel.sort()
    starts = torch.searchsorted(
        voxel, torch.arange(num_voxels, device=voxel.device)
    )
    return F.embedding_bag(
        source[order],
        features,
        starts,
        mode='sum',
        per_sample_weights=weights[order],
    )
