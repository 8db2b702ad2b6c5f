"""SequenceSampler: streams in time order, every frame at most once."""

from itertools import chain

import numpy as np
import pytest
from mmengine.runner import Runner
from torch.utils.data import Dataset

from occsplat.data import SequenceSampler, samplers

LENGTHS = (7, 5, 9, 4, 6, 8)


class Drives(Dataset):
    """Indices of sequences of given lengths."""

    def __init__(self, lengths=LENGTHS):
        self.lengths = lengths

    def __len__(self):
        return sum(self.lengths)

    def __getitem__(self, idx):
        return idx

    def sequences(self):
        ends = np.cumsum(self.lengths)
        return [
            list(range(end - length, end))
            for end, length in zip(ends, self.lengths)
        ]


def indices_of_ranks(monkeypatch, world, epoch=0, drives=None, **kwargs):
    """What each rank serves."""
    out = []
    for rank in range(world):
        monkeypatch.setattr(
            samplers, 'get_dist_info', lambda rank=rank: (rank, world)
        )
        sampler = SequenceSampler(drives or Drives(), seed=3, **kwargs)
        sampler.set_epoch(epoch)
        out.append(list(sampler))
        assert len(out[-1]) == len(sampler)
    return out


@pytest.mark.parametrize('world', [1, 2, 3])
@pytest.mark.parametrize('batch', [1, 2, 4])
def test_training_streams(monkeypatch, world, batch):
    ranks = indices_of_ranks(monkeypatch, world, batch_size=batch)
    served = list(chain(*ranks))
    assert len(served) == len(set(served))
    # as many as fit evenly, and the same number on every rank
    total, slots = sum(LENGTHS), world * batch
    assert len(served) == total // slots * slots
    assert len({len(indices) for indices in ranks}) == 1
    sequence = {i: s for s, g in enumerate(Drives().sequences()) for i in g}
    for indices in ranks:
        for slot in range(batch):
            stream = indices[slot::batch]
            steps = [
                b - a
                for a, b in zip(stream, stream[1:])
                if sequence[a] == sequence[b]
            ]
            assert set(steps) == {1}
            # and a sequence is never left and taken up again
            order = [sequence[i] for i in stream]
            runs = 1 + sum(a != b for a, b in zip(order, order[1:]))
            assert runs == len(set(order))


@pytest.mark.parametrize('world', [1, 2])
@pytest.mark.parametrize('batch', [1, 2])
def test_streams_take_turns(monkeypatch, world, batch):
    turns = 3
    ranks = indices_of_ranks(monkeypatch, world, batch_size=batch, turns=turns)
    served = list(chain(*ranks))
    total, streams = sum(LENGTHS), world * batch * turns
    assert len(served) == len(set(served)) == total // streams * streams
    ends = {group[-1] for group in Drives().sequences()}
    for indices in ranks:
        for place in range(batch * turns):
            # what comes again after all turns is a stream in time order
            stream = indices[place :: batch * turns]
            assert all(
                b == a + 1 or a in ends for a, b in zip(stream, stream[1:])
            )
        # and neighbours in one slot are of other streams
        slot = indices[::batch]
        assert all(b != a + 1 for a, b in zip(slot, slot[1:]) if a not in ends)


def test_an_epoch_of_turns_can_be_taken_up_between_them(monkeypatch):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (0, 1))
    sampler = SequenceSampler(Drives(), batch_size=2, turns=3, seed=3)
    whole = list(sampler)
    for batch in (1, 4):
        sampler.start_at(batch)
        assert list(sampler) == whole[2 * batch :]


def test_few_frames_take_fewer_turns(monkeypatch):
    ranks = indices_of_ranks(
        monkeypatch, 2, drives=Drives((3, 4)), batch_size=1, turns=8
    )
    # three streams of one frame for each of two processes
    assert [len(indices) for indices in ranks] == [3, 3]
    assert len(set(chain(*ranks))) == 6


def test_evaluation_takes_no_turns(monkeypatch):
    plain, turns = (
        indices_of_ranks(monkeypatch, 2, shuffle=False, turns=t)
        for t in (1, 4)
    )
    assert plain == turns


def test_epochs_differ_and_repeat(monkeypatch):
    first = indices_of_ranks(monkeypatch, 2, 0, batch_size=2)
    second = indices_of_ranks(monkeypatch, 2, 1, batch_size=2)
    assert first != second
    assert first == indices_of_ranks(monkeypatch, 2, 0, batch_size=2)


@pytest.mark.parametrize('world', [1, 2])
def test_an_epoch_can_be_taken_up_in_the_middle(monkeypatch, world):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (0, world))
    sampler = SequenceSampler(Drives(), batch_size=2, seed=3)
    sampler.set_epoch(4)
    whole = list(sampler)
    sampler.start_at(3)
    assert len(sampler) == len(whole)
    assert list(sampler) == whole[6:]
    # the next epoch is served from its beginning
    assert list(sampler) == whole
    sampler.start_at(len(whole) // 2)
    assert list(sampler) == []


def test_seeds_belong_to_frames_and_epochs(monkeypatch):
    """Not to ranks: more processes augment a frame in the same way."""
    seeds = [
        {int(i): i.seed for i in chain(*indices_of_ranks(*args, batch_size=1))}
        for args in ((monkeypatch, 1, 0), (monkeypatch, 3, 0))
    ]
    assert seeds[1].items() <= seeds[0].items()
    assert len({*seeds[0].values()}) == len(seeds[0])
    other = chain(*indices_of_ranks(monkeypatch, 1, 1, batch_size=1))
    assert not {i.seed for i in other} & {*seeds[0].values()}


@pytest.mark.parametrize('world', [1, 2, 3])
@pytest.mark.parametrize('batch', [1, 3])
def test_evaluation_serves_each_frame_once(monkeypatch, world, batch):
    ranks = indices_of_ranks(
        monkeypatch, world, batch_size=batch, shuffle=False
    )
    assert sorted(chain(*ranks)) == list(range(sum(LENGTHS)))
    for indices in ranks:
        for slot in range(batch):
            stream = indices[slot::batch]
            assert stream == list(range(stream[0], stream[0] + len(stream)))


@pytest.mark.parametrize('world', [2, 3])
def test_evaluation_keeps_sequences_whole(monkeypatch, world):
    ranks = indices_of_ranks(monkeypatch, world, shuffle=False)
    for group in Drives().sequences():
        assert any(set(group) <= set(indices) for indices in ranks)


def test_more_ranks_than_sequences(monkeypatch):
    ranks = indices_of_ranks(
        monkeypatch, 3, shuffle=False, drives=Drives((4,))
    )
    assert sorted(chain(*ranks)) == [0, 1, 2, 3]


def test_epochs_do_not_drift_with_the_loader():
    """Built as mmengine builds loaders; slot i is row i of the batch."""
    loader = Runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=0,
            dataset=Drives((4, 4)),
            sampler=dict(
                type='SequenceSampler',
                batch_size=2,
                shuffle=True,
                _scope_='mmdet3d',
            ),
            collate_fn=dict(type='default_collate'),
        ),
        seed=0,
    )
    batches = [batch.tolist() for batch in loader]
    assert len(batches) == 4
    assert sorted(chain(*batches)) == list(range(8))
    for row in zip(*batches):
        assert row in ((0, 1, 2, 3), (4, 5, 6, 7))


def test_bad_arguments(monkeypatch):
    with pytest.raises(ValueError, match='sequences'):
        SequenceSampler([1, 2, 3], seed=0)
    with pytest.raises(ValueError, match='batch_size'):
        SequenceSampler(Drives(), batch_size=0, seed=0)
    with pytest.raises(ValueError, match='2 frames cannot fill 4 slots'):
        SequenceSampler(Drives((2,)), batch_size=4, seed=0)
