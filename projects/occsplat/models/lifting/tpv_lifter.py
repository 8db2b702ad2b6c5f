"""TPVFormer: three planes that look at the images, summed to a volume.

TPVFormer (Huang et al., CVPR 2023), in the form that GaussRender trains.

Shape letters: B batch, T frames, N cameras, C channels, X Y Z voxels of the
volume, x y z cells of the planes, R rows and K columns of a plane, Q = R * K
queries of a plane, A anchors along the axis that it lacks, L levels of the
image features, H W feature map.

::

    maps (B, N, C, Hl, Wl) + an embedding of camera and level
    three planes of learned queries, seen from above (y, x) and from two
    sides (z, y) and (x, z)
      -> layers: attention within the plane seen from above, attention of
         all to the images, a perceptron; a layer norm behind each
      -> planes resized to X Y Z, each spread along the axis that it lacks
      -> their sum                                   volume (B, C, X, Y, Z)
"""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from occsplat.ops import deformable_attention
from occsplat.structures import (
    CameraRig,
    OccBatch,
    VoxelGrid,
    as_grid,
    same_shape,
)
from occsplat.structures.checks import Count, Fraction, checked

from ..image_features import ImageFeatures
from .camera_attention import CameraAttention, Sampling
from .image_embedding import ImageEmbedding
from .seen_queries import SeenQueries, find_views
from .star import star

#: rows and columns of each plane, and the axis that it lacks
PLANES = ((1, 0, 2), (2, 1, 0), (0, 2, 1))
#: metres from the ends of that axis to the outermost anchors
MARGIN = 0.5


@MODELS.register_module()
class TPVLifter(nn.Module):
    """Image features to a volume, by a tri-perspective view.

    Args:
        grid (dict | VoxelGrid): of the volume, the labels' in TPVFormer.
        channels (int): C, of image features, planes and volume.
        plane_stride (int): voxels per cell of the planes, along each axis.
        num_layers (int): of the transformer.
        num_heads (int): of its attentions.
        anchors (sequence of int): A of the planes (y, x), (z, y), (x, z).
        points_per_anchor (int): samples that each head takes around an
            anchor, in each level.
        feedforward_channels (int): width of the perceptron.
        num_levels (int): L.
        num_cameras (int): N; each has an embedding of its own.
        dropout (float): of attention and perceptron.
        with_cp (bool): compute layers anew in the backward pass instead of
            keeping what they computed.

    Raises:
        ValueError: when ``plane_stride`` does not divide the grid.

    Attributes:
        num_frames (int): frames that are lifted: the current one.
        stereo (bool): whether frames are matched with each other: no.
    """

    num_frames = 1
    stereo = False

    @checked
    def __init__(
        self,
        grid: dict | VoxelGrid,
        channels: Count = 256,
        plane_stride: Count = 2,
        num_layers: Count = 3,
        num_heads: Count = 8,
        anchors: tuple[Count, Count, Count] = (4, 32, 32),
        points_per_anchor: Count = 2,
        feedforward_channels: Count = 512,
        num_levels: Count = 4,
        num_cameras: Count = 6,
        dropout: Fraction = 0.1,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.grid = as_grid(grid)
        self.cells = self.grid.pooled(plane_stride)
        self.with_cp = with_cp
        self.samplings = [Sampling(a, points_per_anchor) for a in anchors]
        self.embedding = ImageEmbedding(channels, num_levels, num_cameras)
        size = self.cells.shape
        self.queries = nn.ParameterList(
            nn.Parameter(torch.randn(size[row] * size[column], channels))
            for row, column, _ in PLANES
        )
        half = channels // 2
        self.position_x = nn.Parameter(torch.rand(1, size[0], half))
        self.position_y = nn.Parameter(torch.rand(size[1], 1, channels - half))
        self.layers = nn.ModuleList(
            TPVLayer(
                channels,
                num_heads,
                num_levels,
                self.samplings,
                feedforward_channels,
                dropout,
            )
            for _ in range(num_layers)
        )

    def forward(
        self, features: Sequence[ImageFeatures], rig: CameraRig
    ) -> tuple[Tensor, None]:
        """Lift.

        Args:
            features (sequence of ImageFeatures): of the current frame, of
                which all L maps are read.
            rig (CameraRig): (B, T, N), the current frame first.

        Returns:
            tuple: volume (B, C, X, Y, Z), and None, nothing for ``loss``.

        Raises:
            ValueError: when the maps are not L, or not those of N cameras.
        """
        maps = self.embedding(features[0].maps)
        rig = rig[:, 0]
        same_shape('cameras', rig.K.shape[:-2], maps[0].shape[:2])
        views = [find_views(rig, points.to(rig.K)) for points in self.anchors]
        planes = [query.expand(len(maps[0]), -1, -1) for query in self.queries]
        for layer in self.layers:
            if self.with_cp and self.training:
                planes = checkpoint(
                    layer, planes, self.position, views, maps,
                    use_reentrant=False,
                )  # fmt: skip
            else:
                planes = layer(planes, self.position, views, maps)
        return self._spread(planes), None

    def loss(self, lifted: None, batch: OccBatch) -> dict[str, Tensor]:
        """None of its own."""
        return {}

    @property
    def position(self) -> Tensor:
        """Code of each cell of the plane seen from above, (y, x, C)."""
        size_x, size_y, _ = self.cells.shape
        return torch.cat(
            [
                self.position_x.expand(size_y, -1, -1),
                self.position_y.expand(-1, size_x, -1),
            ],
            dim=-1,
        )

    @property
    def anchors(self) -> list[Tensor]:
        """Where each plane's queries look, metres, (Q, A, 3) each."""
        grid, found = self.cells, []
        centers = [grid.centers()[..., axis] for axis in range(3)]
        lines = [
            centers[0][:, 0, 0],
            centers[1][0, :, 0],
            centers[2][0, 0, :],
        ]
        for (row, column, lacks), sampling in zip(PLANES, self.samplings):
            along = torch.linspace(
                grid.min[lacks] + MARGIN,
                grid.max[lacks] - MARGIN,
                sampling.anchors,
            )
            points = torch.meshgrid(
                lines[row], lines[column], along, indexing='ij'
            )
            axes = {row: points[0], column: points[1], lacks: points[2]}
            points = torch.stack([axes[axis] for axis in range(3)], dim=-1)
            found.append(points.flatten(0, 1))
        return found

    def _spread(self, planes: Sequence[Tensor]) -> Tensor:
        """The sum of the planes in each voxel, (B, C, X, Y, Z)."""
        cells, shape, volume = self.cells.shape, self.grid.shape, 0.0
        for plane, (row, column, lacks) in zip(planes, PLANES):
            image = plane.transpose(1, 2).unflatten(
                2, (cells[row], cells[column])
            )
            image = F.interpolate(
                image,
                size=(shape[row], shape[column]),
                mode='bilinear',
                align_corners=False,
            )
            if row > column:
                image = image.transpose(2, 3)
            volume = volume + image.unsqueeze(2 + lacks)
        return volume


class TPVLayer(nn.Module):
    """A layer of the transformer.

    Args:
        channels, num_heads, num_levels, feedforward_channels, dropout: see
            TPVLifter.
        samplings (sequence of Sampling): of the three planes.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_levels: int,
        samplings: Sequence[Sampling],
        feedforward_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.self_attention = PlaneAttention(
            channels, num_heads, dropout=dropout
        )
        self.cross_attention = CameraAttention(
            channels, num_heads, num_levels, samplings, dropout
        )
        self.feedforward = FFN(
            channels,
            feedforward_channels,
            ffn_drop=dropout,
            act_cfg=dict(type='ReLU', inplace=True),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(
        self,
        planes: Sequence[Tensor],
        position: Tensor,
        views: Sequence[SeenQueries],
        maps: Sequence[Tensor],
    ) -> list[Tensor]:
        """Planes (B, Q, C) to the same.

        Args:
            planes (sequence of Tensor): three.
            position (Tensor): of the first one's cells, (y, x, C).
            views (sequence of SeenQueries): who sees their anchors.
            maps (sequence of Tensor): (B, N, C, H, W).
        """
        above, *sides = planes
        above = self.self_attention(above, position)
        planes = [self.norms[0](plane) for plane in (above, *sides)]
        planes = self.cross_attention(planes, views, maps)
        planes = [self.norms[1](plane) for plane in planes]
        return [self.norms[2](self.feedforward(plane)) for plane in planes]


class PlaneAttention(nn.Module):
    """Deformable attention among the cells of a plane, with residual.

    BEVFormer's temporal self-attention without a past: two sets of points
    with a softmax each, both on the plane itself, and their mean. Offsets
    and weights are told by the query without and with its position.

    Args:
        channels (int): C.
        num_heads (int): M.
        num_points (int): of each set.
        dropout (float): of what was read.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_points: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layout = (num_heads, 2, num_points)
        slots = num_heads * 2 * num_points
        self.offsets = nn.Linear(2 * channels, 2 * slots)
        self.weights = nn.Linear(2 * channels, slots)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.weights, self.value, self.output):
            nn.init.zeros_(layer.bias)
        reach = 1 + torch.arange(num_points).expand(2, -1)
        with torch.no_grad():
            self.offsets.bias.copy_(star(num_heads, reach).flatten())

    def forward(self, query: Tensor, position: Tensor) -> Tensor:
        """(B, R * K, C) to the same; position (R, K, C)."""
        rows, columns = position.shape[:2]
        y = (torch.arange(rows).to(query) + 0.5) / rows
        x = (torch.arange(columns).to(query) + 0.5) / columns
        center = torch.stack(
            torch.meshgrid(y, x, indexing='ij')[::-1], dim=-1
        ).view(1, -1, 1, 1, 1, 2)
        told = torch.cat([query, query + position.flatten(0, 1)], dim=-1)
        offsets = self.offsets(told).unflatten(2, (*self.layout, 2))
        offsets = offsets / offsets.new_tensor([columns, rows])
        weights = self.weights(told).unflatten(2, self.layout).softmax(-1) / 2
        value = self.value(query).unflatten(2, (self.layout[0], -1))
        read = deformable_attention(
            value,
            [(rows, columns)],
            (center + offsets).flatten(3, 4).unsqueeze(3),
            weights.flatten(3, 4).unsqueeze(3),
        )
        return query + self.dropout(self.output(read))
