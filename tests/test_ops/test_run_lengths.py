"""Runs of equal labels: against plain twins, and by hand."""

import pytest
import torch

from occsplat.ops import known_run_lengths, run_lengths
from occsplat.ops.run_lengths import by_slices

IGNORE = 255
SHAPES = [(7, 5, 4), (9, 2, 13), (1, 6, 3), (8, 1, 5), (4, 6, 1), (1, 1, 1)]
#: steps x+ x- y+ y- z+ z-
STEPS = [
    (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1),
]  # fmt: skip


def walk(labels, known=None):
    """The twin: from every voxel step by step to the end of its run."""
    shape = tuple(labels.shape)
    if known is None:
        known = torch.ones(shape, dtype=torch.bool)
    labels, known = labels.tolist(), known.tolist()
    lengths = torch.zeros(6, *shape, dtype=torch.int64)
    censored = torch.zeros(6, *shape, dtype=torch.bool)
    for start in torch.cartesian_prod(*map(torch.arange, shape)).view(-1, 3):
        x, y, z = start.tolist()
        label = labels[x][y][z]
        for d, step in enumerate(STEPS):
            i, j, k = x, y, z
            while known[x][y][z]:
                lengths[d, x, y, z] += 1
                i, j, k = i + step[0], j + step[1], k + step[2]
                if not all(0 <= v < n for v, n in zip((i, j, k), shape)):
                    break
                if not known[i][j][k]:
                    censored[d, x, y, z] = True
                    break
                if labels[i][j][k] != label:
                    break
    return lengths, censored


def algorithm_1(labels, dim):
    """VoxDet's own loop over whole slices, towards the end of an axis."""
    out = torch.ones(labels.shape, dtype=torch.int64)
    for i in range(labels.shape[dim] - 2, -1, -1):
        same = labels.select(dim, i) == labels.select(dim, i + 1)
        after = out.select(dim, i + 1)
        out.select(dim, i).copy_(torch.where(same, after + 1, 1))
    return out


def random_labels(shape, seed=0):
    """Two classes and 'ignore': runs of all lengths."""
    make = torch.Generator().manual_seed(seed)
    values = torch.tensor([0, 3, IGNORE], dtype=torch.uint8)
    return values[torch.randint(10, shape, generator=make).div(4).long()]


def random_known(shape, seed=1):
    make = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=make) < 0.7


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('stride', [1, 2, 3])
def test_without_numba_it_is_the_same(shape, stride):
    labels = random_labels(shape)
    before = labels.clone()
    lengths, expected = by_slices(labels, stride), run_lengths(labels, stride)
    assert lengths.dtype == expected.dtype and lengths.is_contiguous()
    assert torch.equal(lengths, expected) and torch.equal(labels, before)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('stride', [1, 2, 3, 4])
def test_equals_the_twin(shape, stride):
    labels = random_labels(shape)
    expected, _ = walk(labels)
    lengths = run_lengths(labels, stride)
    assert lengths.dtype == torch.int16 and lengths.is_contiguous()
    assert torch.equal(
        lengths.long(), expected[:, ::stride, ::stride, ::stride]
    )


@pytest.mark.parametrize('stride', [1, 3])
def test_equals_the_algorithm_of_the_paper(stride):
    labels = random_labels((40, 24, 11))
    expected = [
        lengths
        for dim in range(3)
        for lengths in (
            algorithm_1(labels, dim),
            algorithm_1(labels.flip(dim), dim).flip(dim),
        )
    ]
    expected = torch.stack(expected)[:, ::stride, ::stride, ::stride]
    assert torch.equal(run_lengths(labels, stride).long(), expected)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('stride', [1, 2, 3, 4])
def test_unknown_voxels_equal_the_twin(shape, stride):
    labels, known = random_labels(shape), random_known(shape)
    expected = walk(labels, known)
    actual = known_run_lengths(labels, known, stride)
    assert [v.dtype for v in actual] == [torch.int16, torch.bool]
    for value, full in zip(actual, expected):
        full = full[:, ::stride, ::stride, ::stride]
        assert torch.equal(value.to(full.dtype), full)


def test_by_hand():
    labels = torch.tensor([5, 5, 5, 2, 2, IGNORE])
    lengths = run_lengths(labels.view(1, 6, 1))[:, 0, :, 0]
    assert lengths.tolist() == [
        [1] * 6, [1] * 6, [3, 2, 1, 2, 1, 1], [1, 2, 3, 1, 2, 1],
        [1] * 6, [1] * 6,
    ]  # fmt: skip
    # ahead + behind is one more than the run
    assert (lengths[2] + lengths[3] - 1).tolist() == [3, 3, 3, 2, 2, 1]


def test_unknown_voxels_by_hand():
    labels = torch.tensor([4, 4, 4, 4, 7, 7, 4]).view(1, 1, 7)
    known = torch.tensor([1, 1, 0, 1, 1, 0, 1]).bool().view(1, 1, 7)
    lengths, censored = known_run_lengths(labels, known)
    assert lengths[4:, 0, 0].tolist() == [
        [2, 1, 0, 1, 1, 0, 1], [1, 2, 0, 1, 1, 0, 1],
    ]  # fmt: skip
    # not where another class or the border ends the run
    assert censored[4:, 0, 0].int().tolist() == [
        [1, 1, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0, 1],
    ]  # fmt: skip
    # across the row the border is next to every voxel
    assert lengths[:4].tolist() == [known.int().tolist()] * 4
    assert not censored[:4].any()


def test_labels_of_unknown_voxels_say_nothing():
    labels, known = random_labels((6, 5, 4)), random_known((6, 5, 4))
    other = torch.where(known, labels, random_labels((6, 5, 4), seed=2))
    assert not torch.equal(other, labels)
    for a, b in zip(
        known_run_lengths(labels, known), known_run_lengths(other, known)
    ):
        assert torch.equal(a, b)


def test_everything_known_censors_nothing():
    labels = random_labels((6, 5, 4))
    lengths, censored = known_run_lengths(labels, torch.ones_like(labels) > 0)
    assert torch.equal(lengths, run_lengths(labels))
    assert not censored.any()


@pytest.mark.parametrize(
    'dtype', [torch.uint8, torch.int32, torch.int64], ids=str
)
def test_any_integers_in_any_layout(dtype):
    labels = random_labels((4, 6, 5))
    expected = run_lengths(labels, 2)
    odd = labels.to(dtype).permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not odd.is_contiguous()
    assert torch.equal(run_lengths(odd, 2), expected)
    spread = torch.zeros(8, 6, 10, dtype=dtype)
    spread[::2, :, ::2] = labels.to(dtype)
    assert torch.equal(run_lengths(spread[::2, :, ::2], 2), expected)


def test_mirrored_labels_swap_directions():
    labels = random_labels((6, 5, 4))
    lengths = run_lengths(labels)
    for axis in range(3):
        swapped = list(range(6))
        swapped[2 * axis : 2 * axis + 2] = 2 * axis + 1, 2 * axis
        mirrored = run_lengths(labels.flip(axis)).flip(axis + 1)
        assert torch.equal(mirrored[swapped], lengths)


def test_a_long_axis():
    most = torch.iinfo(torch.int16).max
    labels = torch.zeros(1, most, 1, dtype=torch.uint8)
    lengths = run_lengths(labels, most)
    assert lengths.flatten().tolist() == [1, 1, most, 1, 1, 1]
    with pytest.raises(ValueError, match='at most 32767 voxels'):
        run_lengths(torch.zeros(1, most + 1, 1, dtype=torch.uint8))


def test_wrong_inputs_are_named():
    labels = random_labels((4, 3, 2))
    with pytest.raises(ValueError, match=r'integer labels.*float32'):
        run_lengths(labels.float())
    with pytest.raises(ValueError, match=r'integer labels.*\(4, 6\)'):
        run_lengths(labels.view(4, 6))
    with pytest.raises(ValueError, match='stride must be >= 1, got 0'):
        run_lengths(labels, 0)
    with pytest.raises(ValueError, match='known must be bool, got .*uint8'):
        known_run_lengths(labels, labels)
    with pytest.raises(ValueError, match=r'\(4, 3, 2\), got \(3, 2\)'):
        known_run_lengths(labels, labels[0] > 0)
