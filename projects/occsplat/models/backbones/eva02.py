"""EVA-02, a plain vision transformer with windows, for detection.

EVA-02: A Visual Representation for Neon Genesis (Fang et al., 2023), laid
out as in its detector and in ViTDet (Li et al., 2022): one stride,
attention in windows, every few blocks in large ones.

timm's ``Eva`` has the same blocks (and agrees with these where one window
covers the image), but neither windows nor rotary embeddings that differ
from block to block, and so can't take 640x1600 images or these weights.

Shape letters: B images, H W patches, C channels, A heads, D channels a
head, N tokens of a window.
"""

from __future__ import annotations

from typing import Iterator, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from occsplat.structures.checks import Count, Fraction, Natural, checked

#: pixels a side of a patch
PATCH = 16
#: side of the map of position embeddings in pretraining, patches
POSITIONS = 14
#: windows of any size are this wide for the rotary embedding, patches
ROTARY_SPAN = 16


@MODELS.register_module()
class EVA02(BaseModule):
    """EVA-02 for images of any size that its patches divide.

    Windows at the right and lower edge end at the edge. (EVA-02's code
    pads them with zeros that take part in the softmax. The two agree
    where windows divide the map, as they do in its pretraining.)

    Args:
        dims (int): C.
        depth (int): number of blocks.
        num_heads (int): A.
        window (int): side of the windows of ``window_blocks``, patches.
        global_window (int): side of those of all other blocks.
        window_blocks (sequence of int): from 0.
        drop_path (float): probability that the last block is skipped in
            training; it rises linearly from 0 in the first.
        with_cp (bool): recompute activations in the backward pass.
        init_cfg (dict, optional): as in mmengine. Without, linear layers
            keep PyTorch's initialisation, whose spread at 1024 channels
            (0.018) is about the usual one of vision transformers (0.02).
    """

    @checked
    def __init__(
        self,
        dims: Count,
        depth: Natural,
        num_heads: Count,
        window: Count,
        global_window: Count,
        window_blocks: Sequence[Natural],
        drop_path: Fraction = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.patch_embed = nn.Conv2d(3, dims, PATCH, PATCH)
        self.pos_embed = nn.Parameter(
            torch.empty(1, dims, POSITIONS, POSITIONS)
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            Block(
                dims,
                num_heads,
                window if i in window_blocks else global_window,
                drop_path * i / max(depth - 1, 1),
            )
            for i in range(depth)
        )
        self.with_cp = with_cp

    def forward(self, imgs: Tensor) -> tuple[Tensor]:
        """Images (B, 3, 16 H, 16 W) to one map (B, C, H, W).

        Raises:
            ValueError: when patches do not divide the image.
        """
        if any(side % PATCH for side in imgs.shape[-2:]):
            raise ValueError(
                f'EVA02 takes images whose sides are multiples of {PATCH}, '
                f'got {tuple(imgs.shape[-2:])}: check size of ImageAug'
            )
        x = self.patch_embed(imgs)
        x = x + F.interpolate(
            self.pos_embed.float(),
            size=x.shape[-2:],
            mode='bicubic',
            align_corners=False,
        ).to(x.dtype)
        x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            if self.with_cp and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return (x.permute(0, 3, 1, 2).contiguous(),)


class Block(nn.Module):
    """Attention and a gated MLP, each on a normalised residual.

    Args:
        dims (int): C.
        num_heads (int): A.
        window (int): patches a side.
        drop_path (float): probability that a sample skips either part.
    """

    def __init__(
        self, dims: int, num_heads: int, window: int, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims, eps=1e-6)
        self.attn = WindowAttention(dims, num_heads, window)
        self.norm2 = nn.LayerNorm(dims, eps=1e-6)
        self.mlp = SwiGLU(dims, int(dims * 4 * 2 / 3))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class WindowAttention(nn.Module):
    """Self-attention of the patches of a window, with rotary positions.

    Keys have no bias.

    Args:
        dims (int): C.
        num_heads (int): A.
        window (int): patches a side.

    Raises:
        ValueError: when C is not a multiple of 4 A: the channels of a
            head are rotated in pairs, half by row and half by column.
    """

    def __init__(self, dims: int, num_heads: int, window: int) -> None:
        super().__init__()
        if dims % (4 * num_heads):
            raise ValueError(
                f'WindowAttention: dims must be a multiple of 4 * num_heads '
                f'= {4 * num_heads}, got {dims}'
            )
        self.qkv = nn.Linear(dims, 3 * dims, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dims))
        self.v_bias = nn.Parameter(torch.zeros(dims))
        self.proj = nn.Linear(dims, dims)
        self.num_heads = num_heads
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same."""
        bias = torch.cat(
            [self.q_bias, torch.zeros_like(self.q_bias), self.v_bias]
        )
        qkv = F.linear(x, self.qkv.weight, bias)
        height, width = x.shape[1:3]
        # windows of one shape at a time: up to four parts of the map
        rows = [
            torch.cat(
                [
                    self._attend(qkv[:, top:bottom, left:right], (tall, wide))
                    for left, right, wide in _parts(width, self.window)
                ],
                dim=2,
            )
            for top, bottom, tall in _parts(height, self.window)
        ]
        return self.proj(torch.cat(rows, dim=1))

    def _attend(self, qkv: Tensor, window: tuple[int, int]) -> Tensor:
        """Attention where windows divide the map.

        Args:
            qkv (Tensor): (B, H, W, 3 C).
            window (tuple): patches, (height, width).

        Returns:
            Tensor: (B, H, W, C).
        """
        tall, wide = window
        # B rows tall columns wide 3 A D -> 3 (B rows columns) A N D
        parts = qkv.unflatten(3, (3, self.num_heads, -1))
        parts = parts.unflatten(2, (-1, wide)).unflatten(1, (-1, tall))
        batch, rows, _, columns = parts.shape[:4]
        parts = parts.permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = parts.flatten(5, 6).flatten(1, 3)
        angles = rotary_angles(
            window, ROTARY_SPAN / self.window, q.shape[-1], q.device
        )
        out = F.scaled_dot_product_attention(
            rotate(q, angles), rotate(k, angles), v
        )
        out = out.transpose(1, 2).flatten(2)
        out = out.unflatten(1, window).unflatten(0, (batch, rows, columns))
        # B rows columns tall wide C -> B H W C
        return out.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class SwiGLU(nn.Module):
    """``w3(norm(silu(w1 x) * w2 x))``: gated, normalised inside.

    Args:
        dims (int): C.
        hidden (int): channels inside.
    """

    def __init__(self, dims: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dims, hidden)
        self.w2 = nn.Linear(dims, hidden)
        self.ffn_ln = nn.LayerNorm(hidden, eps=1e-6)
        self.w3 = nn.Linear(hidden, dims)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to the same."""
        return self.w3(self.ffn_ln(F.silu(self.w1(x)) * self.w2(x)))


def rotary_angles(
    window: tuple[int, int], scale: float, channels: int, device: torch.device
) -> Tensor:
    """Angles that the pairs of channels turn by (RoPE, Su et al., 2021).

    The first half of the pairs turn with the row, the others with the
    column, at rates from 1 down to nearly 1/10000.

    Args:
        window (tuple): patches, (height, width).
        scale (float): what a patch counts for.
        channels (int): D.
        device (torch.device): of the result.

    Returns:
        Tensor: (N, D / 2), radians.
    """
    steps = torch.arange(0, channels // 2, 2, device=device)
    rates = 10000.0 ** (-steps / (channels // 2))
    rows, columns = (
        torch.arange(side, device=device)[:, None] * scale * rates
        for side in window
    )
    angles = [
        rows[:, None].expand(*window, -1),
        columns[None].expand(*window, -1),
    ]
    return torch.cat(angles, dim=-1).flatten(0, 1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring channels of x, (..., N, D), by (N, D / 2)."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.stack(turned, dim=-1).flatten(-2).type_as(x)


def _parts(length: int, window: int) -> Iterator[tuple[int, int, int]]:
    """Where windows of one length begin and end, and their length."""
    whole = length - length % window
    if whole:
        yield 0, whole, window
    if whole < length:
        yield whole, length, length - whole
