"""The nearest return of a feature cell, and which pixel it is in."""

import pytest
import torch

from occsplat.ops import nearest_in_cells, read_pixels


def test_the_nearest_return_and_its_pixel_by_hand():
    depth = torch.zeros(4, 6)
    depth[0, 0], depth[1, 2], depth[3, 5] = 7.0, 3.0, 9.0
    nearest, pixel = nearest_in_cells(depth, (2, 2))
    assert nearest.tolist() == [[3, 0], [0, 9]]
    image = torch.arange(24).view(4, 6)
    assert read_pixels(image, pixel)[[0, 1], [0, 1]].tolist() == [8, 23]
    # nearer than 5 m and from 9 m on nothing counts
    nearest, pixel = nearest_in_cells(depth, (2, 2), near=5.0, far=9.0)
    assert nearest.tolist() == [[7, 0], [0, 0]]
    assert read_pixels(image, pixel)[0, 0] == 0


def test_cells_agree_with_a_loop():
    generator = torch.Generator().manual_seed(0)
    depth = 50 * torch.rand(2, 3, 8, 12, generator=generator)
    depth[torch.rand(depth.shape, generator=generator) < 0.9] = 0
    labels = torch.randint(0, 9, depth.shape, generator=generator)
    nearest, pixel = nearest_in_cells(depth, (4, 3), 2.0, 40.0)
    found = read_pixels(labels, pixel)
    empty = 0
    for b, n, i, j in torch.cartesian_prod(*map(torch.arange, (2, 3, 4, 3))):
        cell = depth[b, n, 2 * i : 2 * i + 2, 4 * j : 4 * j + 4].flatten()
        names = labels[b, n, 2 * i : 2 * i + 2, 4 * j : 4 * j + 4].flatten()
        counts = (cell >= 2) & (cell < 40)
        if not counts.any():
            empty += 1
            assert nearest[b, n, i, j] == 0
            continue
        best = torch.where(counts, cell, 99.0).argmin()
        assert nearest[b, n, i, j] == cell[best]
        assert found[b, n, i, j] == names[best]
    assert 0 < empty < nearest.numel()


def test_cells_must_divide_the_image():
    with pytest.raises(ValueError, match='4x6 depth map .* 3x2 cells'):
        nearest_in_cells(torch.zeros(4, 6), (3, 2))
