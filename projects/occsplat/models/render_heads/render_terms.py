"""The image losses of VoxelSplat, summed over views and samples.

Shape letters: V views, W views that were rendered, S semantic classes
(free excluded), H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from occsplat.rendering import RenderOutput

#: a pixel is foreground where the labels' accumulated depth exceeds this
FOREGROUND_DEPTH = 0.1  # metres
#: what a pixel without motion weighs in the flow term, in m/s
STATIC_FLOW_WEIGHT = 0.1


class RenderTerms:
    """Sums the terms over samples, states and views, then divides.

    Every pixel of a batch counts the same, however many of them are
    foreground in one view. Where the prediction was rendered in a draw of
    W of the V views, sums of errors are scaled by V / W and divided by what
    the labels say of all V: the mean over all draws is the loss of all
    views, exactly.

    Args:
        num_semantic (int): S; flow channels come after them.
        expected_depth (bool): compare the mean depth of what a pixel sees,
            where prediction and labels see something, instead of the
            accumulated depth.
    """

    def __init__(
        self, num_semantic: int, expected_depth: bool = False
    ) -> None:
        self.num_semantic = num_semantic
        self.expected_depth = expected_depth
        # numerator and denominator of each term
        self._sums: dict[str, list[Tensor]] = {}

    def add(
        self,
        predicted: RenderOutput,
        labelled: RenderOutput,
        views: Tensor | None = None,
        known: Tensor | None = None,
    ) -> None:
        """Account for one state of one sample.

        Args:
            predicted (RenderOutput): of W views.
            labelled (RenderOutput): of all V views.
            views (Tensor, optional): which views the prediction shows,
                (W,); all of them by default.
            known (Tensor, optional): how far the labels of a pixel can be
                predicted at all, 0 to 1, (V, H, W).
        """
        s = self.num_semantic
        weight = torch.ones_like(labelled.depth) if known is None else known
        foreground = weight * (labelled.depth > FOREGROUND_DEPTH)
        target = labelled.features[..., :s]
        true_flow = labelled.features[..., s:]
        speed_weight = (
            weight * (true_flow.norm(dim=-1) + STATIC_FLOW_WEIGHT)
            if true_flow.shape[-1]
            else None
        )

        def drawn(image: Tensor) -> Tensor:
            return image if views is None else image[views]

        scale = len(labelled.depth) / len(predicted.depth)
        log_prob = predicted.features[..., :s].log_softmax(dim=-1)
        entropy = -(drawn(target) * log_prob).sum(dim=-1)
        self._add('semantic', scale * entropy * drawn(foreground), foreground)
        if self.expected_depth:
            # what the prediction does not show has no depth to compare
            seen = drawn(foreground) * (predicted.alpha > 0)
            error = predicted.expected_depth() - drawn(
                labelled.expected_depth()
            )
            self._add('depth', scale * error.abs() * seen, foreground)
        else:
            error = predicted.depth - drawn(labelled.depth)
            self._add('depth', scale * error.abs() * drawn(weight), weight)
        error = predicted.alpha - drawn(labelled.alpha)
        self._add('alpha', scale * error.abs() * drawn(weight), weight)
        flow = predicted.features[..., s:]
        if speed_weight is not None and flow.shape[-1]:
            error = (flow - drawn(true_flow)).abs().sum(dim=-1)
            self._add(
                'flow', scale * error * drawn(speed_weight), speed_weight
            )

    def _add(self, term: str, error: Tensor, weight: Tensor) -> None:
        one = [error.sum(), weight.sum()]
        sums = self._sums.setdefault(term, [0.0, 0.0])
        self._sums[term] = [a + b for a, b in zip(sums, one)]

    def semantic(self) -> Tensor:
        """Cross-entropy with soft targets over foreground pixels.

        The targets are composited one-hot vectors, which sum to the
        labels' alpha.
        """
        return self._mean('semantic')

    def depth(self) -> Tensor:
        """L1 of the depth, metres.

        Accumulated depths are compared in all pixels: where the labels
        are empty theirs is 0, which pushes floaters out of the way.
        """
        return self._mean('depth')

    def alpha(self) -> Tensor:
        """L1 of the accumulated opacity over all pixels."""
        return self._mean('alpha')

    def flow(self) -> Tensor:
        """L1 of the rendered flow, weighted by |f| + 0.1, m/s.

        0 where nothing with a flow was rendered.
        """
        if 'flow' not in self._sums:
            return 0.0 * self._mean('depth')
        return self._mean('flow')

    def _mean(self, term: str) -> Tensor:
        error, weight = self._sums[term]
        # no foreground at all, or no pixel that can be known: no error
        return error / torch.where(weight > 0, weight, 1.0)
