"""Voxel embeddings to shapes."""

import torch

from occsplat.models.render_heads.gaussian_decoder import (
    MAX_STRETCH,
    START_OPACITY,
    GaussianDecoder,
)
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(0, 0, 0, 3, 4, 5), shape=(3, 4, 5))


def make_decoder():
    torch.manual_seed(0)
    return GaussianDecoder(6, GRID, scale=0.2)


def test_every_gaussian_begins_as_the_same_ball():
    voxels = torch.arange(GRID.num_voxels)
    opacities, scales, quats = make_decoder()(torch.randn(60, 6), voxels)
    torch.testing.assert_close(opacities, torch.full((60,), START_OPACITY))
    torch.testing.assert_close(scales, torch.full((60, 3), 0.2))
    torch.testing.assert_close(quats, torch.eye(4)[:1].expand(60, 4))


def test_shapes_stay_within_their_bounds():
    decoder = make_decoder()
    torch.nn.init.normal_(decoder.mlp[-1].weight, std=50)
    voxels = torch.arange(GRID.num_voxels)
    opacities, scales, quats = decoder(torch.randn(60, 6), voxels)
    assert (opacities >= 0).all() and (opacities <= 1).all()
    assert scales.min() >= 0.2 / MAX_STRETCH - 1e-6
    assert scales.max() <= 0.2 * MAX_STRETCH + 1e-6
    assert scales.max() > 0.4  # some are stretched
    torch.testing.assert_close(quats.norm(dim=1), torch.ones(60))


def test_the_code_of_a_voxel_is_that_of_its_place():
    decoder = make_decoder()
    for axis, table in enumerate(decoder.position):
        torch.nn.init.zeros_(table)
        table.data[:, axis] = torch.arange(len(table)).float()
    # the first layer passes the sum on, the last shows one axis as opacity
    seen = []
    decoder.mlp[0].register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0])
    )
    voxels = torch.tensor([0, 1, 5, 20, 59])
    decoder(torch.zeros(5, 6), voxels)
    expected = [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [2, 3, 4]]
    assert seen[0][:, :3].tolist() == expected


def test_all_parameters_learn_once_the_last_layer_has():
    decoder = make_decoder()
    torch.nn.init.normal_(decoder.mlp[-1].weight)
    out = decoder(torch.randn(60, 6), torch.arange(60))
    sum(
        value.square().sum() * (i + 1) for i, value in enumerate(out)
    ).backward()
    assert all(p.grad.abs().max() > 0 for p in decoder.parameters())
