"""A detector as a function of tensors.

Shape letters: B batch (1 here), T frames, N cameras, K classes, X Y Z voxels.
"""

from __future__ import annotations

import copy
from typing import Sequence

from torch import Tensor, nn

from occsplat.models import OccDetector
from occsplat.structures import CameraRig, OccBatch

from .errors import ExportError
from .past import NEXT, STATE, FunctionalHistory, PastInputs
from .rewrites import Geometry

#: the inputs of the cameras, in their order; see CameraRig
RIG = ('ref2cam', 'K', 'img_aug')


class ExportedNetwork(nn.Module):
    """Images to classes and flow, with nothing remembered in between.

    Args:
        detector: in evaluation mode; it is left as it is.
        rig: cameras, (T, N).
        fixed: whether these are the cameras of all runs, else they are
            inputs.
        past: whether past volumes go in and out, see ``PastInputs``; else
            each frame is the first one of its sequence.

    Attributes:
        input_names (list of str): in their order.
        output_names (list of str): likewise, after a run.

    Raises:
        ExportError: when the network has no history but a past is wanted,
            or lifts several frames with fixed cameras.
    """

    def __init__(
        self, detector: OccDetector, rig: CameraRig, fixed: bool, past: bool
    ) -> None:
        super().__init__()
        if past and detector.history is None:
            raise ExportError(
                'the network has no history: there is no past to carry'
            )
        if fixed and rig.K.shape[0] > 1:
            raise ExportError(
                f'lifter: {type(detector.lifter).__name__} reads '
                f'{rig.K.shape[0]} frames, and how the car moved between '
                'them is in their cameras: they have to be an input, '
                '--rig input'
            )
        # a detector of the same modules, but for the one that remembers
        self.detector = copy.copy(detector)
        self.detector._modules = dict(detector._modules)
        self.detector.render_heads = nn.ModuleList()
        self.carried = None
        if detector.history is not None:
            self.carried = FunctionalHistory(detector.history)
            self.detector.history = self.carried
        self.rig, self.fixed, self.past = rig, fixed, past
        self.geometry = Geometry(fixed)
        self.input_names = ['imgs']
        self.input_names += () if fixed else RIG
        self.input_names += STATE if past else ()
        self.output_names: list[str] = []

    def forward(self, imgs: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Predict one frame.

        Args:
            imgs: RGB of 0..255 at the network's size, uint8
                (T, N, 3, H, W), newest frame first.
            *more: by ``input_names``.

        Returns:
            tuple: by ``output_names``: logits (K, X, Y, Z), occ, class ids
            uint8 (X, Y, Z), flow in m/s (X, Y, Z, 2), and the next
            history.
        """
        rig, past = self.rig, []
        if not self.fixed:
            rig = CameraRig(*more[: len(RIG)], self.rig.width, self.rig.height)
        if self.past:
            past = [PastInputs(*more[-len(STATE) :])]
        pixels = self.detector.data_preprocessor.normalise(imgs[None].float())
        batch = OccBatch(past, rig[None])
        with self.geometry.run():
            prediction = self.detector._predict_volume(pixels, batch)[1]
        occ, flow = self.detector.occ_head.predict(prediction)
        outputs = dict(logits=prediction.logits[0], occ=occ[0])
        if flow is not None:
            outputs['flow'] = flow[0]
        following = self.carried.taken() if self.carried else None
        if self.past:
            outputs[NEXT] = following
        self.output_names = list(outputs)
        return tuple(outputs.values())


def camera_inputs(rig: CameraRig) -> Sequence[Tensor]:
    """The matrices of ``RIG``."""
    return [getattr(rig, name) for name in RIG]
