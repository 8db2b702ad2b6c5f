"""Cameras and a label set for tiny volumes."""

import pytest
import torch

from occsplat.structures import CameraRig, LabelSpec, VoxelGrid

#: camera x (right) is -y, camera y (down) is -z, camera z (forward) is x
ALONG_X = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


@pytest.fixture(scope='session')
def look():
    """A function that makes one camera which looks along x."""

    def make(position=(0.0, 0.0, 0.0), size=(32, 16), focal=16.0, turn=0.0):
        angle = torch.tensor(turn)
        cos, sin = torch.cos(angle), torch.sin(angle)
        spin = torch.tensor([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        ref2cam = torch.eye(4)
        ref2cam[:3, :3] = ALONG_X @ spin
        ref2cam[:3, 3] = -ref2cam[:3, :3] @ torch.tensor(position)
        K = torch.tensor(
            [[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]]
        )
        return CameraRig.from_matrices(ref2cam[None], K[None], *size)

    return make


@pytest.fixture(scope='session')
def corridor():
    """Car, road and free, in 1 m voxels ahead of the origin.

    Free is 0, as in some label sets.
    """
    return LabelSpec(
        name='corridor',
        classes=('free', 'car', 'road'),
        free=0,
        movable=(1,),
        palette=((0, 0, 0),) * 3,
        counts=(1, 1, 1),
        grid=VoxelGrid(range=(0, -8, -4, 16, 8, 4), shape=(16, 16, 8)),
    )
