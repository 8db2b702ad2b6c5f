"""SurroundOcc: volumes of several resolutions look at the images.

SurroundOcc (Wei et al., ICCV 2023), section 3.3 and 3.4.

Shape letters: B batch, T frames, N cameras, F channels of the image
features, H W feature map, and per level: C channels, X Y Z voxels, Q = X Y Z.

::

    per level, finest first, one image map each:
      map (B, N, F, H, W) -> 1x1 convolution, ReLU, embeddings
      learned queries (Q, C)
        -> layers: attention to the images at the voxel's centre, a
           perceptron, two 3x3x3 convolutions
                                              volume (B, C, X, Y, Z)
"""

from __future__ import annotations

from typing import Sequence

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from occsplat.structures import (
    CameraRig,
    OccBatch,
    VoxelGrid,
    as_grid,
    same_shape,
)
from occsplat.structures.checks import Count, Fraction, checked

from ..image_features import ImageFeatures
from ..volume.resnet3d import conv3d
from .camera_attention import CameraAttention, Sampling
from .image_embedding import ImageEmbedding
from .seen_queries import SeenQueries, find_views


@MODELS.register_module()
class SurroundOccLifter(nn.Module):
    """Image features to volumes, one of each resolution.

    Args:
        in_channels (int): F, the same in all maps.
        grid (dict | VoxelGrid): of the finest volume; each further one has
            half as many voxels along each axis.
        channels (sequence of int): C of each volume, finest first; their
            number is that of the levels.
        num_layers (sequence of int): of each level.
        num_points (sequence of int): samples that each head takes around
            a voxel's centre, of each level.
        num_heads (int): of the attention.
        num_cameras (int): each has an embedding of its own.
        norm_cfg (dict, optional): of the convolutions, GroupNorm of 16
            groups by default.
        dropout (float): of attention and perceptron.
        with_cp (bool): compute layers anew in the backward pass instead of
            keeping what they computed.

    Raises:
        ValueError: when the sequences differ in length, or the grid does
            not divide.

    Attributes:
        num_frames (int): frames that are lifted: the current one.
        stereo (bool): whether frames are matched with each other: no.
        num_volumes (int): resolutions.
    """

    num_frames = 1
    stereo = False

    @checked
    def __init__(
        self,
        in_channels: Count,
        grid: dict | VoxelGrid,
        channels: Sequence[Count] = (128, 256, 512),
        num_layers: Sequence[Count] = (1, 3, 6),
        num_points: Sequence[Count] = (2, 4, 8),
        num_heads: Count = 8,
        num_cameras: Count = 6,
        norm_cfg: dict | None = None,
        dropout: Fraction = 0.1,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        if not len(channels) == len(num_layers) == len(num_points):
            raise ValueError(
                'SurroundOccLifter needs one channels, num_layers and '
                f'num_points entry a level, got {len(channels)}, '
                f'{len(num_layers)} and {len(num_points)}'
            )
        self.num_volumes = len(channels)
        finest = as_grid(grid)
        norm_cfg = norm_cfg or dict(type='GN', num_groups=16)
        self.levels = nn.ModuleList(
            VolumeLevel(
                in_channels,
                finest.pooled(2**i),
                width,
                layers,
                points,
                num_heads,
                num_cameras,
                norm_cfg,
                dropout,
                with_cp,
            )
            for i, (width, layers, points) in enumerate(
                zip(channels, num_layers, num_points)
            )
        )

    def forward(
        self, features: Sequence[ImageFeatures], rig: CameraRig
    ) -> tuple[tuple[Tensor, ...], None]:
        """Lift.

        Args:
            features (sequence of ImageFeatures): of the current frame,
                one map for each level.
            rig (CameraRig): (B, T, N), the current frame first.

        Returns:
            tuple: volumes (B, C, X, Y, Z), finest first, and None, nothing
            for ``loss``.

        Raises:
            ValueError: when there are other than so many maps, or when
                they are not those of the rig's cameras.
        """
        maps, rig = features[0].maps, rig[:, 0]
        if len(maps) != len(self.levels):
            raise ValueError(
                f'SurroundOccLifter reads {len(self.levels)} image maps, '
                f'backbone and neck give {len(maps)}: set channels, or '
                'num_outs of the neck'
            )
        same_shape('cameras', rig.K.shape[:-2], maps[0].shape[:2])
        return tuple(
            level(image, rig) for level, image in zip(self.levels, maps)
        ), None

    def loss(self, lifted: None, batch: OccBatch) -> dict[str, Tensor]:
        """None of its own."""
        return {}


class VolumeLevel(nn.Module):
    """One resolution.

    Args:
        in_channels, channels, num_heads, num_cameras, norm_cfg, dropout,
            with_cp: see SurroundOccLifter.
        grid (VoxelGrid): of this level.
        num_layers, num_points (int): of this level.
    """

    def __init__(
        self,
        in_channels: int,
        grid: VoxelGrid,
        channels: int,
        num_layers: int,
        num_points: int,
        num_heads: int,
        num_cameras: int,
        norm_cfg: dict,
        dropout: float,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.with_cp = with_cp
        self.transfer = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1), nn.ReLU(inplace=True)
        )
        self.embedding = ImageEmbedding(channels, 1, num_cameras)
        self.query = nn.Parameter(torch.randn(grid.num_voxels, channels))
        self.layers = nn.ModuleList(
            VolumeLayer(
                channels, grid, num_points, num_heads, norm_cfg, dropout
            )
            for _ in range(num_layers)
        )

    def forward(self, image: Tensor, rig: CameraRig) -> Tensor:
        """Images (B, N, F, H, W) to a volume (B, C, X, Y, Z)."""
        views = image.shape[:2]
        (image,) = self.embedding(
            [self.transfer(image.flatten(0, 1)).unflatten(0, views)]
        )
        centers = self.grid.centers(rig.K.device).view(-1, 1, 3)
        seen = find_views(rig, centers.to(rig.K))
        query = self.query.expand(views[0], -1, -1)
        for layer in self.layers:
            if self.with_cp and self.training:
                query = checkpoint(
                    layer, query, seen, image, use_reentrant=False
                )
            else:
                query = layer(query, seen, image)
        return query.transpose(1, 2).unflatten(2, self.grid.shape)


class VolumeLayer(nn.Module):
    """Attention to the images, a perceptron, and neighbours.

    Args:
        channels, num_points, num_heads, norm_cfg, dropout: see
            SurroundOccLifter.
        grid (VoxelGrid): what the queries stand on.
    """

    def __init__(
        self,
        channels: int,
        grid: VoxelGrid,
        num_points: int,
        num_heads: int,
        norm_cfg: dict,
        dropout: float,
    ) -> None:
        super().__init__()
        self.shape = grid.shape
        self.cross_attention = CameraAttention(
            channels, num_heads, 1, [Sampling(1, num_points)], dropout
        )
        self.feedforward = FFN(
            channels,
            2 * channels,
            ffn_drop=dropout,
            act_cfg=dict(type='ReLU', inplace=True),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.neighbours = nn.Sequential(
            conv3d(channels, channels, 3, norm_cfg=norm_cfg),
            conv3d(channels, channels, 3, norm_cfg=norm_cfg),
        )

    def forward(
        self, query: Tensor, seen: SeenQueries, image: Tensor
    ) -> Tensor:
        """(B, Q, C) to the same.

        Args:
            query (Tensor): (B, Q, C), Q over (X, Y, Z).
            seen (SeenQueries): who sees them.
            image (Tensor): (B, N, C, H, W).
        """
        (query,) = self.cross_attention([query], [seen], [image])
        query = self.norms[1](self.feedforward(self.norms[0](query)))
        volume = query.transpose(1, 2).unflatten(2, self.shape)
        return (volume + self.neighbours(volume)).flatten(2).transpose(1, 2)
