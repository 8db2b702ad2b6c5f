"""Cameras for small volumes."""

import math

import torch

from occsplat.structures import CameraRig

WIDTH, HEIGHT = 64, 32


def make_rig(views=3, image_aug=None, volume_aug=None):
    """Cameras 1 m above the origin that look around, (1, N)."""
    ref2cam = []
    for i in range(views):
        angle = 2 * math.pi * i / views + 0.1
        forward = torch.tensor([math.cos(angle), math.sin(angle), 0.0])
        right = torch.tensor([math.sin(angle), -math.cos(angle), 0.0])
        matrix = torch.eye(4)
        matrix[:3, :3] = torch.stack(
            [right, torch.tensor([0.0, 0.0, -1.0]), forward]
        )
        matrix[:3, 3] = -matrix[:3, :3] @ torch.tensor([0.2, 0.1, 1.0])
        ref2cam.append(matrix)
    ref2cam = torch.stack(ref2cam)
    if volume_aug is not None:
        ref2cam = ref2cam @ torch.linalg.inv(volume_aug)
    K = torch.tensor([[100.0, 0, 80], [0, 100.0, 45], [0, 0, 1]])
    aug = torch.diag(torch.tensor([0.4, 0.4, 1.0]))
    if image_aug is not None:
        aug = image_aug @ aug
    return CameraRig(
        ref2cam[None],
        K.expand(1, views, 3, 3),
        aug.expand(1, views, 3, 3),
        WIDTH,
        HEIGHT,
    )
