"""Cameras: where they stand and how they map metres to pixels.

Shape letters: B batch, T frames, N cameras, P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor

from .cameras import Cameras


def inverse(matrices: Tensor) -> Tensor:
    """Of matrices (..., n, n), to the bits of ``torch.linalg.inv``.

    That one waits for a GPU, to ask whether a matrix is singular. Here
    it is asked on the CPU only: calibration is checked when it is read.

    Raises:
        torch.linalg.LinAlgError: when one is singular, on the CPU.
    """
    check = not matrices.is_cuda
    return torch.linalg.inv_ex(matrices, check_errors=check).inverse


@dataclass
class CameraRig:
    """N pinhole cameras in the reference frame.

    ::

        reference (ego)              camera (OpenCV)        image
             z up                       z forward           0 ---- u
             ^  x forward              /                    |
             | /                      +---- x right         |
        y <--+                        |                     v
                                      v y down

    A pixel (i, j) covers [i, i+1) x [j, j+1); its centre is at +0.5.

    Attributes:
        ref2cam (Tensor): reference frame -> camera, (..., N, 4, 4).
        K (Tensor): intrinsics of the raw image, (..., N, 3, 3).
        img_aug (Tensor): raw pixels -> network-input pixels (resize,
            crop, flip, rotation), (..., N, 3, 3).
        width, height: size of the network-input image in pixels.
    """

    ref2cam: Tensor
    K: Tensor
    img_aug: Tensor
    width: int
    height: int

    @classmethod
    def from_matrices(
        cls,
        ref2cam: Tensor,
        K: Tensor,
        width: int,
        height: int,
    ) -> CameraRig:
        """Cameras whose images are used as they are (no augmentation)."""
        eye = torch.eye(3, dtype=K.dtype, device=K.device)
        return cls(ref2cam, K, eye.expand_as(K).clone(), width, height)

    @property
    def num_cameras(self) -> int:
        """N."""
        return self.K.shape[-3]

    @property
    def image_K(self) -> Tensor:
        """Camera -> homogeneous network-input pixels, (..., N, 3, 3)."""
        return self.img_aug @ self.K

    @property
    def cameras(self) -> Cameras:
        """What renders the network-input images, N cameras."""
        return Cameras(self.ref2cam, self.image_K, self.width, self.height)

    @property
    def cam2ref(self) -> Tensor:
        """Camera -> reference frame, (..., N, 4, 4)."""
        return inverse(self.ref2cam)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels and depths of points in every camera.

        Args:
            points (Tensor): metres in the reference frame, (..., P, 3),
                with the same leading dimensions as the rig.

        Returns:
            tuple: uv in network-input pixels (..., N, P, 2) and depth,
            the camera's z in metres (..., N, P). Where depth <= 0 the
            point is behind the camera and uv means nothing.
        """
        rotation = self.ref2cam[..., :3, :3]
        offset = self.ref2cam[..., None, :3, 3]
        local = points.unsqueeze(-3) @ rotation.transpose(-1, -2) + offset
        depth = local[..., 2]
        pixels = local @ self.image_K.transpose(-1, -2)
        # img_aug is affine, so the homogeneous scale stays the depth
        safe = torch.where(depth.abs() < 1e-6, 1e-6, depth)
        return pixels[..., :2] / safe[..., None], depth

    def pixel_rays(self) -> tuple[Tensor, Tensor]:
        """How pixels turn into rays of the reference frame.

        Returns:
            tuple: origins, the centres of the cameras in metres,
            (..., N, 3), and matrices (..., N, 3, 3) that turn (u, v, 1)
            into a direction that gains one metre of depth: the point of
            depth z seen at (u, v) is ``origin + z * matrix @ (u, v, 1)``.
        """
        cam2ref = self.cam2ref
        turn = cam2ref[..., :3, :3] @ inverse(self.image_K)
        return cam2ref[..., :3, 3], turn

    def scaled(self, factor: float) -> CameraRig:
        """The same cameras with images ``factor`` times as large."""
        scale = torch.diag(self.K.new_tensor([factor, factor, 1.0]))
        return CameraRig(
            self.ref2cam,
            self.K,
            scale @ self.img_aug,
            round(self.width * factor),
            round(self.height * factor),
        )

    def to(self, *args, **kwargs) -> CameraRig:
        """``Tensor.to`` on every matrix."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def __getitem__(self, index) -> CameraRig:
        """Index the leading dimensions."""
        return self._map(lambda tensor: tensor[index])

    def _map(self, function) -> CameraRig:
        return CameraRig(
            function(self.ref2cam),
            function(self.K),
            function(self.img_aug),
            self.width,
            self.height,
        )

    @staticmethod
    def stack(rigs: Sequence[CameraRig]) -> CameraRig:
        """Put rigs of one image size under a new leading dimension.

        Raises:
            ValueError: when image sizes differ or there is no rig.
        """
        sizes = {(rig.width, rig.height) for rig in rigs}
        if len(sizes) != 1:
            raise ValueError(
                'CameraRig.stack expects rigs of one image size, got '
                f'{sorted(sizes)}'
            )
        width, height = sizes.pop()
        return CameraRig(
            torch.stack([rig.ref2cam for rig in rigs]),
            torch.stack([rig.K for rig in rigs]),
            torch.stack([rig.img_aug for rig in rigs]),
            width,
            height,
        )
