"""Volumes of encoders that no longer learn, lifted once."""

from __future__ import annotations

import hashlib
from typing import Callable

import torch
from torch import Tensor

from occsplat.structures import CameraRig


class RememberedVolumes:
    """What a frozen encoder has lifted of the images that it has seen.

    A short training sees each frame a dozen times. Where nothing changes
    the images, the volume is the same each time, and lifting it anew is
    about a quarter of a step of the small networks.

    A volume is found by the values of its images and cameras: an augmented
    image is another image. It is kept in half precision, and also read so
    the first time, so that it does not matter which time it is.

    Args:
        capacity (int): samples that are remembered, the first ones that
            come; any others are lifted each time.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._volumes: dict[bytes, Tensor] = {}

    def forget(self) -> None:
        """Start anew, as when the encoder has got other weights."""
        self._volumes.clear()

    def __call__(
        self,
        lift: Callable[[Tensor, CameraRig], Tensor],
        imgs: Tensor,
        rig: CameraRig,
    ) -> Tensor:
        """Lift, or remember.

        Args:
            lift (callable): images and cameras of b <= B samples to their
                volumes, without gradient.
            imgs (Tensor): (B, T, N, 3, h, w).
            rig (CameraRig): (B, T, N).

        Returns:
            Tensor: (B, C, X, Y, Z), float32.
        """
        keys = [_digest(imgs[i], rig[i]) for i in range(len(imgs))]
        unknown = [i for i, key in enumerate(keys) if key not in self._volumes]
        lifted: dict[int, Tensor] = {}
        if unknown:
            volumes = lift(imgs[unknown], rig[unknown]).half()
            for i, volume in zip(unknown, volumes):
                lifted[i] = volume
                # one with a NaN is lifted again by who looks for its cause
                fits = len(self._volumes) < self.capacity
                if fits and volume.isfinite().all():
                    # of its own: a view would keep the whole batch
                    self._volumes[keys[i]] = volume.clone()
        # single precision before stacking: autocast stacks no halves
        return torch.stack(
            [
                (lifted[i] if i in lifted else self._volumes[key]).float()
                for i, key in enumerate(keys)
            ]
        )


def _digest(imgs: Tensor, rig: CameraRig) -> bytes:
    """A name for images (T, N, 3, h, w) and cameras (T, N)."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (imgs, rig.ref2cam, rig.K, rig.img_aug):
        digest.update(values.detach().cpu().contiguous().numpy())
    return digest.digest()
