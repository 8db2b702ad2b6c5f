"""What is drawn for a sample hangs on its index alone."""

import pickle
import random

import numpy as np
import pytest
import torch
from little_drive import write_drive
from torch.utils.data import DataLoader

from occsplat.data import (
    NuScenesOccDataset,
    SampleIndex,
    SequenceSampler,
    drawn_for,
)


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_equal_indices_draw_equally_and_seeds_differ():
    drawn = []
    for index in (
        SampleIndex(5, (1, 2, 3)),
        SampleIndex(5, (1, 2, 4)),
        SampleIndex(5, (1, 2, 3)),
    ):
        draw()  # what was drawn before does not matter
        with drawn_for(index):
            drawn.append(draw())
    assert drawn[0] == drawn[2]
    # all three generators have seeds of their own, and all follow
    assert all(a != b for a, b in zip(drawn[0], drawn[1]))
    assert len({*drawn[0]}) == 3


def test_others_go_on_as_if_nothing_was_drawn():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with pytest.raises(KeyError), drawn_for(SampleIndex(0, (1,))):
        draw()
        raise KeyError
    assert draw() == expected


def test_plain_index_changes_nothing():
    torch.manual_seed(0)
    expected = torch.rand(())
    torch.manual_seed(0)
    with drawn_for(3):
        assert torch.rand(()) == expected


def test_index_is_an_int_that_keeps_its_seed():
    index = pickle.loads(pickle.dumps(SampleIndex(4, (7, 8))))
    assert index == 4 and index.seed == (7, 8)
    assert [10, 11, 12, 13, 14][index] == 14


def note_draws(results):
    """A pipeline that keeps what it draws; None makes the data set retry."""
    drawn = draw()
    return None if drawn[0] < 0.3 else (results['token'], *drawn)


@pytest.fixture
def drive(tmp_path):
    write_drive(tmp_path, (('a', 5), ('b', 4)), sensors=False)
    return NuScenesOccDataset(
        str(tmp_path),
        'infos.json',
        pipeline=[note_draws],
        label_spec='openocc',
    )


def served(dataset, epoch, first=0, **loader):
    sampler = SequenceSampler(dataset, batch_size=2, seed=5)
    sampler.set_epoch(epoch)
    sampler.start_at(first)
    batches = DataLoader(
        dataset, 2, sampler=sampler, collate_fn=list, **loader
    )
    return [sample for batch in batches for sample in batch]


def test_neither_workers_nor_resuming_change_a_sample(drive):
    whole = served(drive, epoch=1)
    assert len(whole) == 8
    for workers in (1, 2):
        assert served(drive, epoch=1, num_workers=workers) == whole
    assert served(drive, epoch=1, first=3) == whole[6:]
    # another epoch augments anew
    other = {sample[0]: sample for sample in served(drive, epoch=2)}
    assert all(other.get(sample[0]) != sample for sample in whole)
