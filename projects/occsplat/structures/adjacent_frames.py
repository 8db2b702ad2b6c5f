"""Other key frames of the scene, with labels of their own.

Shape letters: M adjacent frames, N cameras, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .camera_rig import CameraRig


@dataclass
class AdjacentFrames:
    """M key frames before or after the current one.

    Their labels stay in their own reference frames, as they are on disk:
    what a volume augmentation does to the current frame is in
    ``frame2ref`` and in the cameras.

    Attributes:
        rig (CameraRig): their cameras, from the *current* reference
            frame, (M, N).
        frame2ref (Tensor): their reference frames -> the current one,
            (M, 4, 4).
        dt (Tensor): seconds after the current frame, negative for the
            past, (M,). 0 for the stand-in of a frame that does not exist.
        occ (Tensor): class ids in their own grids, (M, X, Y, Z).
    """

    rig: CameraRig
    frame2ref: Tensor
    dt: Tensor
    occ: Tensor

    def __len__(self) -> int:
        return self.dt.shape[0]

    def to(self, *args, **kwargs) -> AdjacentFrames:
        """``Tensor.to`` on every tensor.

        Meant for devices: a dtype would turn class ids into floats.
        """
        return AdjacentFrames(
            self.rig.to(*args, **kwargs),
            self.frame2ref.to(*args, **kwargs),
            self.dt.to(*args, **kwargs),
            self.occ.to(*args, **kwargs),
        )
