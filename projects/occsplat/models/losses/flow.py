"""Speed-weighted flow regression of VoxelSplat (CVPR 2025).

Shape letters: B batch, X Y Z voxels.
"""

from __future__ import annotations

from torch import Tensor


def flow_l1_loss(
    flow: Tensor,
    target_flow: Tensor,
    target_occ: Tensor,
    ignore: int = 255,
    floor: float = 0.1,
) -> Tensor:
    """L1 error of the flow, weighted by the true speed.

    ``sum_v w_v |f_v - f*_v|_1 / sum_v w_v`` with ``w_v = |f*_v| + floor``
    over all voxels that are not ignored, free ones included: moving voxels
    are one in a thousand and would not count otherwise.

    Args:
        flow (Tensor): f, m/s, (B, 2, X, Y, Z).
        target_flow (Tensor): f*, m/s, (B, 2, X, Y, Z).
        target_occ (Tensor): class ids, (B, X, Y, Z).
        ignore (int): id that takes no part.
        floor (float): weight of a static voxel, m/s.

    Returns:
        Tensor: scalar, m/s; 0 (with a graph) when every voxel is ignored.
    """
    valid = target_occ != ignore
    weight = (target_flow.norm(dim=1) + floor) * valid
    error = (flow - target_flow).abs().sum(dim=1)
    return (weight * error).sum() / weight.sum().clamp(min=floor)
