"""Cameras as a renderer needs them.

Shape letters: N cameras.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

MODELS = ('pinhole', 'ortho')


@dataclass(frozen=True)
class Cameras:
    """N cameras of one image size, perspective or orthographic.

    What the images of a :class:`CameraRig` are rendered from
    (``rig.cameras``), and the virtual cameras that no sensor stands for.

    Attributes:
        viewmats (Tensor): reference frame -> camera (x right, y down, z
            forward), (N, 4, 4). May mirror.
        Ks (Tensor): camera -> pixels, (N, 3, 3); the centre of pixel (0, 0)
            is at (0.5, 0.5). For 'ortho' the focal lengths are pixels per
            metre. May contain the flip, rotation or shear of an image
            augmentation.
        width, height (int): of the images, in pixels.
        camera_model (str): 'pinhole' or 'ortho'.

    Raises:
        ValueError: for an image without pixels or an unknown model.
    """

    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    camera_model: str = 'pinhole'

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(
                'width and height must be positive, got '
                f'{self.width} x {self.height}'
            )
        if self.camera_model not in MODELS:
            raise ValueError(
                f'camera_model must be one of {MODELS}, '
                f'got {self.camera_model!r}'
            )

    @property
    def ortho(self) -> bool:
        """Whether rays are parallel."""
        return self.camera_model == 'ortho'

    def __len__(self) -> int:
        return len(self.Ks)

    def chosen(self, which: Tensor | list[int]) -> Cameras:
        """Some of them: a mask (N,) or indices."""
        return replace(self, viewmats=self.viewmats[which], Ks=self.Ks[which])
