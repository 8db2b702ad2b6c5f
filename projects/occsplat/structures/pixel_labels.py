"""Labelled pixels: what LiDAR returns say of the images they fall into.

Shape letters: M key frames, N cameras, P labelled pixels of all frames.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .camera_rig import CameraRig


@dataclass
class PixelLabels:
    """Classes and depths of single pixels, in M key frames.

    Frame 0 is the current one. A frame that does not exist has no pixel,
    and the current frame's cameras.

    Attributes:
        rig (CameraRig): the frames' cameras, from the *current* reference
            frame, without image augmentation, (M, N).
        frame2ref (Tensor): their reference frames -> the current one,
            (M, 4, 4).
        dt (Tensor): seconds after the current frame, (M,).
        index (Tensor): frame, camera, row and column of each pixel in the
            images of ``rig``, int64 (P, 4); sorted by frame.
        depth (Tensor): the camera's z in metres, (P,).
        label (Tensor): class ids, int64 (P,).
        moving (Tensor): on an annotated object that moves, bool (P,).
    """

    rig: CameraRig
    frame2ref: Tensor
    dt: Tensor
    index: Tensor
    depth: Tensor
    label: Tensor
    moving: Tensor

    def __len__(self) -> int:
        return self.index.shape[0]

    @property
    def num_frames(self) -> int:
        """M."""
        return self.dt.shape[0]

    def to(self, *args, **kwargs) -> PixelLabels:
        """``Tensor.to`` on every tensor.

        Meant for devices: a dtype would turn class ids into floats.
        """
        return PixelLabels(
            self.rig.to(*args, **kwargs),
            *(
                getattr(self, name).to(*args, **kwargs)
                for name in (
                    'frame2ref',
                    'dt',
                    'index',
                    'depth',
                    'label',
                    'moving',
                )
            ),
        )

    def chosen(self, pixels: Tensor) -> PixelLabels:
        """Some of the pixels: a mask (P,), or indices in rising order."""
        return PixelLabels(
            self.rig,
            self.frame2ref,
            self.dt,
            *(
                getattr(self, name)[pixels]
                for name in ('index', 'depth', 'label', 'moving')
            ),
        )
