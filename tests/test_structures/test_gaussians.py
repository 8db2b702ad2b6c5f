"""Gaussians: moving."""

import pytest
import torch

from occsplat.structures import Gaussians


def make_gaussians(count=4):
    return Gaussians(
        torch.arange(count * 3.0).view(count, 3),
        torch.ones(count, 3),
        torch.ones(count),
        torch.eye(count),
    )


def test_moved_along_x_and_y_keeps_z():
    moved = make_gaussians().moved(torch.ones(4, 2))
    assert moved.means[0].tolist() == [1, 2, 2]


def test_moved_is_differentiable_in_the_displacement():
    step = torch.zeros(4, 3, requires_grad=True)
    make_gaussians().moved(step).means.sum().backward()
    assert step.grad.tolist() == [[1.0] * 3] * 4


def test_moved_refuses_other_shapes():
    with pytest.raises(ValueError, match='displacement'):
        make_gaussians().moved(torch.ones(4, 1))
