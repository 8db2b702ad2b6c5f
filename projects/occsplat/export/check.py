"""Whether a graph gives what the network gives.

Shape letters: T frames, N cameras, K classes, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Sequence

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor

from occsplat.models import OccDetector
from occsplat.structures import CameraRig, OccDataSample

from .errors import ExportError
from .graph import Run
from .network import ExportedNetwork, camera_inputs
from .past import NEXT, Past

#: how much logits may differ, as part of the largest of them
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Difference:
    """How a graph's prediction of a frame differs from the network's.

    Attributes:
        token: of the frame.
        logits: the largest difference over the largest logit.
        ties: voxels of another class between two that are as likely,
            within the difference of the logits.
        wrong: other voxels of another class.
        voxels: all of them.
        flow: the largest difference in m/s where the class is the same;
            None without a flow.
        moved: largest entry by which the frame's cameras differ from those
            of the graph; 0 where they are an input.
    """

    token: str
    logits: float
    ties: int
    wrong: int
    voxels: int
    flow: float | None
    moved: float

    def __str__(self) -> str:
        """A line for the terminal."""
        flow = '' if self.flow is None else f', flow by {self.flow:.1e} m/s'
        moved = ''
        if self.moved:
            moved = (
                f'; its cameras are not quite those of the graph, by '
                f'{self.moved:.1e}, and were left out'
            )
        return (
            f'frame {self.token}: logits differ by {self.logits:.1e} of the '
            f'largest, {self.wrong + self.ties} of {self.voxels} classes '
            f'({self.ties} ties){flow}{moved}'
        )


def first_inputs(
    network: ExportedNetwork, detector: OccDetector, packed: dict[str, Any]
) -> list[Tensor]:
    """The inputs of a frame that nothing comes before."""
    past = Past(detector.history) if network.past else None
    return frame_inputs(network, packed, past)


def frame_inputs(
    network: ExportedNetwork, packed: dict[str, Any], past: Past | None
) -> list[Tensor]:
    """The inputs of a packed frame, by ``network.input_names``."""
    sample = packed['data_samples']
    inputs = [packed['inputs']['imgs']]
    if not network.fixed:
        inputs += camera_inputs(sample.rig)
    if past is not None:
        inputs += past.inputs(sample.metainfo)
    return inputs


def compare(
    run: Run,
    network: ExportedNetwork,
    detector: OccDetector,
    frames: Iterable[dict[str, Any]],
) -> Iterator[Difference]:
    """Run a graph and the network on frames, the past included.

    Args:
        run: of the graph.
        network: what the graph was made of.
        detector: what the network was made of, which is run as always.
        frames: packed samples of a data set, one after the other.

    Yields:
        Difference: of each frame.
    """
    past, last = None, None
    for packed in frames:
        sample = packed['data_samples']
        goes_on = network.past and sample.prev == last is not None
        last = sample.token
        if not goes_on:
            # the detector may know a past that the graph does not
            sample.set_metainfo(dict(prev=''))
            past = Past(detector.history) if network.past else None
        inputs = frame_inputs(network, packed, past)
        outputs = dict(zip(network.output_names, run(inputs)))
        if past is not None:
            past.remember(outputs[NEXT], sample.metainfo)
        moved = 0.0
        if network.fixed:
            moved = _moved(network.rig, sample.rig)
            sample.rig = network.rig
        yield _difference(outputs, detector, packed, moved)


def require_same(found: Sequence[Difference]) -> None:
    """Stop where a graph is not its network.

    Raises:
        ExportError: when logits differ by more than ``TOLERANCE``, or
            classes do that are not as likely.
    """
    for one in found:
        if not one.logits <= TOLERANCE or one.wrong:
            raise ExportError(
                f'the graph is not the network, {one}: expected at most '
                f'{TOLERANCE} of the largest logit and ties alone, nothing '
                'is written'
            )


@torch.no_grad()
def _difference(
    outputs: dict[str, Tensor],
    detector: OccDetector,
    packed: dict[str, Any],
    moved: float,
) -> Difference:
    sample: OccDataSample = packed['data_samples']
    data = detector.data_preprocessor(pseudo_collate([packed]))
    prediction = detector(**data, mode='tensor')
    occ, flow = detector.occ_head.predict(prediction)
    logits, occ = prediction.logits[0], occ[0].long()
    found, classes = outputs['logits'], outputs['occ'].long()
    error = (found - logits).abs().max()
    differs = classes != occ
    gap = logits.gather(0, occ[None]) - logits.gather(0, classes[None])
    ties = differs & (gap[0].abs() <= 2 * error)
    threshold = getattr(detector.occ_head, 'opacity_threshold', None)
    if threshold is not None:
        opacity = detector.occ_head.opacity(prediction).opacity[0]
        ties |= differs & ((opacity - threshold).abs() <= TOLERANCE)
    away = None
    if flow is not None:
        same = (outputs['flow'] - flow[0]).abs()[~differs]
        away = float(same.max())
    return Difference(
        token=sample.token,
        logits=float(error / logits.abs().max()),
        ties=int(ties.sum()),
        wrong=int((differs & ~ties).sum()),
        voxels=occ.numel(),
        flow=away,
        moved=moved,
    )


def _moved(rig: CameraRig, other: CameraRig) -> float:
    pairs = zip(camera_inputs(rig), camera_inputs(other))
    return max(float((a - b).abs().max()) for a, b in pairs)
