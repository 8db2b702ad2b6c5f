"""Labels of larger voxels are votes."""

from collections import Counter

import pytest
import torch

from occsplat.ops import pool_labels
from occsplat.structures import LabelSpec


@pytest.mark.parametrize('name', ['openocc', 'surroundocc'])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64])
def test_votes_are_counted_block_by_block(name, dtype):
    """free is the last class, or the first; blocks are no cubes."""
    spec = LabelSpec.named(name)
    torch.manual_seed(0)
    # few classes, so that blocks are undecided
    ids = torch.tensor([spec.free, spec.free, spec.ignore, 3, 5, 9])
    labels = ids[torch.randint(0, 6, (2, 8, 6, 2))].to(dtype)
    labels[0, :2, :3, :1] = spec.ignore
    labels[1, :2, :3, :1] = spec.free
    labels[1, 0, 0, 0] = spec.ignore
    pooled = pool_labels(labels, (2, 3, 1), spec)
    assert pooled.shape == (2, 4, 2, 2) and pooled.dtype == dtype
    for b, x, y, z in torch.cartesian_prod(
        *(torch.arange(n) for n in pooled.shape)
    ).tolist():
        block = labels[b, 2 * x : 2 * x + 2, 3 * y : 3 * y + 3, z]
        votes = Counter(block.flatten().tolist())
        solid = {k: n for k, n in votes.items() if k in (3, 5, 9)}
        if solid:
            most = max(solid.values())
            expected = min(k for k, n in solid.items() if n == most)
        else:
            alone = set(votes) == {spec.ignore}
            expected = spec.ignore if alone else spec.free
        assert pooled[b, x, y, z] == expected


def test_a_stride_divides():
    spec = LabelSpec.named('occ3d')
    with pytest.raises(ValueError, match='does not divide into blocks'):
        pool_labels(torch.zeros(4, 4, 3, dtype=torch.uint8), (2, 2, 2), spec)
