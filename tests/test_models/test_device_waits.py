"""A GPU works ahead of Python, but where its answer is asked for."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from occsplat.models.losses import lovasz_softmax_loss, sem_scal_loss
from occsplat.models.losses.presence import present_classes
from occsplat.models.render_heads.render_state import seen_voxels
from occsplat.structures import inverse

#: operations that bring a number, or the number of results, to the CPU
ASKING = ('_local_scalar_dense', 'nonzero', 'is_nonzero', 'masked_select')


class Waits(TorchDispatchMode):
    """Counts the operations that a GPU would be waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name.startswith('index') and any(
            isinstance(x, torch.Tensor) and x.dtype == torch.bool
            for x in (args[1] if isinstance(args[1], (list, tuple)) else [])
        )
        self.count += name in ASKING or masks
        return func(*args, **(kwargs or {}))


def scene(classes=9, shape=(2, 6, 5, 4)):
    make = torch.Generator().manual_seed(0)
    target = torch.randint(classes, shape, generator=make)
    target[0, 0] = 255
    logits = torch.randn(shape[0], classes, *shape[1:], generator=make)
    return logits.softmax(dim=1), target


def test_affinity_waits_for_nothing_but_the_classes():
    probs, target = scene()
    with Waits() as waits:
        sem_scal_loss(probs, target, free=8)
    assert waits.count == 0  # they come as one list


def test_lovasz_waits_once_a_class():
    """For how many voxels it has to sort, which decides their shape."""
    probs, target = scene()
    with Waits() as waits:
        lovasz_softmax_loss(probs, target)
    assert 0 < waits.count <= 9


def test_the_counter_counts():
    x = torch.arange(4.0)
    with Waits() as waits:
        bool((x > 1).any())
        x[x > 1]
        x[x > 1] = 0.0
        float(x[0])
    assert waits.count == 4


def test_classes_that_occur():
    target = torch.tensor([[[[0, 2, 2, 255]]]])
    found = present_classes(target, 4)
    assert list(found) == [0, 2]
    assert torch.equal(found[2], target == 2)


@pytest.mark.parametrize('size', [3, 4])
def test_an_inverse_has_the_usual_bits(size):
    make = torch.Generator().manual_seed(1)
    matrices = torch.randn(5, 6, size, size, generator=make)
    for x in (matrices, matrices.double()):
        assert torch.equal(inverse(x), torch.linalg.inv(x))
    with pytest.raises(torch.linalg.LinAlgError):
        inverse(torch.zeros(size, size))


def test_an_empty_mask_shows_everything():
    occ = torch.zeros(2, 3, 4, dtype=torch.long)
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    with Waits() as waits:
        everything = seen_voxels(occ, mask)
        mask[1, 2, 3] = True
        some = seen_voxels(occ, mask)
    assert waits.count == 0
    assert everything.all() and torch.equal(some, mask)
    assert seen_voxels(occ, None).all()
