"""SingleMapFPN: one map, no idle parameters."""

import pytest
import torch

from occsplat.models.backbones import SingleMapFPN


def test_the_finest_map_comes_out_and_every_parameter_works():
    neck = SingleMapFPN([8, 16], 4)
    maps = [torch.rand(2, 8, 6, 10), torch.rand(2, 16, 3, 5)]
    out = neck(maps)
    assert out.shape == (2, 4, 6, 10)
    out.square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in neck.parameters())


def test_the_coarse_map_reaches_the_output():
    neck = SingleMapFPN([8, 16], 4)
    fine, coarse = torch.rand(1, 8, 6, 10), torch.rand(1, 16, 3, 5)
    assert not torch.equal(neck([fine, coarse]), neck([fine, 0 * coarse]))


def test_a_wrong_number_of_maps_is_named():
    with pytest.raises(ValueError, match='out_indices'):
        SingleMapFPN([8, 16], 4)([torch.rand(1, 8, 6, 10)])
