"""VoxelSplat: render the predicted volume and compare with rendered labels.

VoxelSplat, CVPR 2025. Supervision in the image plane: predicted voxels
and label voxels are splatted as small Gaussians into the same cameras.
A second pair of renders moves both along their flow first, so that the
images also say where things will be.

Shape letters: B batch, V render views, G Gaussians, K classes (free
included), S semantic classes (free excluded), X Y Z voxels, H W pixels.
"""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.rendering import (
    RenderOutput,
    render,
    render_labels,
    render_pair,
)
from occsplat.structures import (
    Gaussians,
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
    as_grid,
    same_shape,
)

#: a pixel is foreground where the labels' accumulated depth exceeds this
FOREGROUND_DEPTH = 0.1  # metres
#: what a pixel without motion weighs in the flow term, in m/s
STATIC_FLOW_WEIGHT = 0.1


@MODELS.register_module()
class VoxelSplatHead(nn.Module):
    """Semantic, depth and flow losses on Gaussian renders.

    The head has no parameters: a Gaussian sits at the centre of each
    sampled voxel, its opacity is the predicted probability that the
    voxel is not free, its features are the class logits and the flow.
    Labels render the same way with opacity 1 and one-hot classes.

    Args:
        label_spec (str): label set, see LabelSpec.named.
        grid (dict | VoxelGrid, optional): the labels' grid, default the
            label set's own.
        num_samples (int): voxels drawn a sample, all if there are fewer.
        scale (float): standard deviation of a Gaussian in metres.
        move_seconds (float): how far the moved state looks ahead.
        near, far (float): depth range of the renders in metres.
        semantic_weight, depth_weight, flow_weight (float): weights of
            the three terms. Flow starts after the warm-up.
        backend (str): see rasterize.
    """

    def __init__(
        self,
        label_spec: str,
        grid: dict | VoxelGrid | None = None,
        num_samples: int = 100_000,
        scale: float = 0.12,
        move_seconds: float = 1.0,
        near: float = 0.1,
        far: float = 100.0,
        semantic_weight: float = 0.5,
        depth_weight: float = 1.0,
        flow_weight: float = 0.5,
        backend: str = 'auto',
    ) -> None:
        super().__init__()
        self.spec = LabelSpec.named(label_spec)
        self.grid = as_grid(grid or self.spec.grid)
        self.num_samples = num_samples
        self.scale = scale
        self.move_seconds = move_seconds
        self.near = near
        self.far = far
        self.semantic_weight = semantic_weight
        self.depth_weight = depth_weight
        self.flow_weight = flow_weight
        self.backend = backend
        self.warmup = False

    def loss(
        self, volume: Tensor, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """The three render losses of a batch.

        Args:
            volume (Tensor): not read; the method works on the output.
            prediction (OccPrediction): logits (B, K, X, Y, Z), flow.
            batch (OccBatch): needs gt_occ, render_rig, and gt_flow where
                flow is predicted; gt_visible restricts the sampling.

        Returns:
            dict: loss_voxelsplat_semantic, _depth and, where flow is
            predicted, _flow.

        Raises:
            ValueError: when the batch lacks render views, or when the
                prediction is not on the head's grid.
        """
        if batch.render_rig is None or batch.gt_occ is None:
            raise ValueError(
                'VoxelSplatHead needs render views and labels: add '
                'RenderViews and LoadOccLabels to the training pipeline'
            )
        shape = prediction.logits.shape[2:]
        same_shape('VoxelSplatHead logits', shape, self.grid.shape)
        # a label set without flow has nothing to move
        with_flow = (
            prediction.flow is not None
            and batch.gt_flow is not None
            and not self.warmup
        )
        terms = RenderTerms(self.spec.num_classes - 1)
        for b in range(prediction.logits.shape[0]):
            voxels = self.sample_voxels(
                batch.gt_occ[b],
                None if batch.gt_flow is None else batch.gt_flow[b],
                None if batch.gt_visible is None else batch.gt_visible[b],
            )
            rig = batch.render_rig[b]
            predicted = self.predicted_gaussians(prediction, b, voxels)
            labels, flow = self.voxel_labels(batch, b, voxels)
            options = dict(
                rig=rig, near=self.near, far=self.far, backend=self.backend
            )
            num_classes = self.spec.num_classes - 1
            terms.add(
                *render_pair(
                    predicted,
                    labels,
                    num_classes,
                    label_features=flow,
                    **options,
                )
            )
            if with_flow:
                seen = labels >= 0
                moved = predicted.moved(
                    predicted.features[:, num_classes:] * self.move_seconds
                )
                moved_truth = self.label_gaussians(
                    voxels[seen], flow[seen]
                ).moved(flow[seen] * self.move_seconds)
                terms.add(
                    render(moved, **options),
                    render_labels(
                        moved_truth, labels[seen], num_classes, **options
                    ),
                )
        losses = dict(
            loss_voxelsplat_semantic=self.semantic_weight * terms.semantic(),
            loss_voxelsplat_depth=self.depth_weight * terms.depth(),
        )
        if prediction.flow is not None:
            weight = self.flow_weight if with_flow else 0.0
            losses['loss_voxelsplat_flow'] = weight * terms.flow()
        return losses

    def sample_voxels(
        self, occ: Tensor, flow: Tensor | None, visible: Tensor | None
    ) -> Tensor:
        """Draw voxels, rare classes and rare speeds more often.

        p(v) is proportional to w_class * w_speed with
        w = 1 / sqrt(count), each normalised over its groups. Free voxels
        are candidates: their opacity has to be learned, too.

        Args:
            occ (Tensor): class ids, (X, Y, Z).
            flow (Tensor | None): m/s, (2, X, Y, Z).
            visible (Tensor | None): bool (X, Y, Z); an empty mask (as
                for a frame that ships none) admits every voxel.

        Returns:
            Tensor: flat voxel indices without repetition, (G,), sorted.
        """
        occ = occ.flatten()
        candidates = occ != self.spec.ignore
        if visible is not None and bool(visible.any()):
            candidates = candidates & visible.flatten()
        index = candidates.nonzero()[:, 0]
        if index.numel() <= self.num_samples:
            return index
        weight = _balanced(self.spec.counts, occ.device)[occ[index]]
        if flow is not None and self.spec.speed_counts:
            speed = flow.flatten(1)[:, index].norm(dim=0)
            # right=True puts a speed of exactly 0 into the first bin
            edges = speed.new_tensor(self.spec.speed_bins)
            group = torch.bucketize(speed, edges, right=True) - 1
            balanced = _balanced(self.spec.speed_counts, occ.device)
            weight = weight * balanced[group]
        drawn = torch.multinomial(weight, self.num_samples)
        return index[drawn].sort().values

    def predicted_gaussians(
        self, prediction: OccPrediction, b: int, voxels: Tensor
    ) -> Gaussians:
        """Sampled voxels of a prediction as Gaussians.

        Features are S class logits and, where predicted, 2 flow values.
        """
        logits = prediction.logits[b].flatten(1)[:, voxels].T  # (G, K)
        features = [logits[:, list(self.spec.occupied)]]
        if prediction.flow is not None:
            features.append(prediction.flow[b].flatten(1)[:, voxels].T)
        opacities = torch.sigmoid(-logits[:, self.spec.free])
        return self._gaussians(voxels, opacities, torch.cat(features, 1))

    def voxel_labels(
        self, batch: OccBatch, b: int, voxels: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Class channels (G,) of sampled voxels, -1 for free, and flow.

        The flow is (G, 2) in m/s, or None where none is labelled.
        """
        channels = voxels.new_full((self.spec.num_classes,), -1)
        occupied = list(self.spec.occupied)
        channels[occupied] = torch.arange(len(occupied)).to(channels)
        labels = channels[batch.gt_occ[b].flatten()[voxels]]
        if batch.gt_flow is None:
            return labels, None
        return labels, batch.gt_flow[b].flatten(1)[:, voxels].T

    def label_gaussians(self, voxels: Tensor, flow: Tensor) -> Gaussians:
        """Labelled voxels (G,) as opaque Gaussians with their flow."""
        return self._gaussians(voxels, torch.ones_like(flow[:, 0]), flow)

    def _gaussians(
        self, voxels: Tensor, opacities: Tensor, features: Tensor
    ) -> Gaussians:
        centers = self.grid.centers(features.device).view(-1, 3)
        means = centers[voxels]
        return Gaussians(
            means, torch.full_like(means, self.scale), opacities, features
        )


class RenderTerms:
    """Sums the loss terms over samples, states and views, then divides.

    Every pixel of a batch counts the same, however many of them are
    foreground in one view.

    Args:
        num_semantic (int): S; flow channels come after them.
    """

    def __init__(self, num_semantic: int) -> None:
        self.num_semantic = num_semantic
        self._semantic: list[Tensor] = []
        self._foreground: list[Tensor] = []
        self._depth: list[Tensor] = []
        self._pixels = 0
        self._flow: list[Tensor] = []
        self._flow_weight: list[Tensor] = []

    def add(self, predicted: RenderOutput, labelled: RenderOutput) -> None:
        """Account for one state of one sample, (V, H, W, ...) each."""
        s = self.num_semantic
        target = labelled.features[..., :s]
        foreground = labelled.depth > FOREGROUND_DEPTH
        log_prob = predicted.features[..., :s].log_softmax(dim=-1)
        entropy = -(target * log_prob).sum(dim=-1)
        self._semantic.append((entropy * foreground).sum())
        self._foreground.append(foreground.sum())
        self._depth.append((predicted.depth - labelled.depth).abs().sum())
        self._pixels += foreground.numel()
        flow = predicted.features[..., s:]
        if flow.shape[-1] and labelled.features.shape[-1] > s:
            true_flow = labelled.features[..., s:]
            weight = true_flow.norm(dim=-1) + STATIC_FLOW_WEIGHT
            error = (flow - true_flow).abs().sum(dim=-1)
            self._flow.append((weight * error).sum())
            self._flow_weight.append(weight.sum())

    def semantic(self) -> Tensor:
        """Cross-entropy with soft targets over foreground pixels.

        The targets are composited one-hot vectors, which sum to the
        labels' alpha.
        """
        return sum(self._semantic) / sum(self._foreground).clamp(min=1)

    def depth(self) -> Tensor:
        """L1 of the accumulated depth over all pixels, metres.

        Where the labels are empty their depth is 0, which pushes
        floaters out of the way.
        """
        return sum(self._depth) / max(self._pixels, 1)

    def flow(self) -> Tensor:
        """L1 of the rendered flow, weighted by |f| + 0.1, m/s."""
        if not self._flow:
            return sum(self._depth) * 0.0
        return sum(self._flow) / sum(self._flow_weight)


def _balanced(counts: tuple[int, ...], device: torch.device) -> Tensor:
    weight = torch.tensor(counts, device=device).double().rsqrt()
    return (weight / weight.sum()).float()
