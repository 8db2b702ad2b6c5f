"""StreamingHistory: sequences, alignment, warm-up."""

import math

import numpy as np
import pytest
import torch

from occsplat.models.volume.history import StreamingHistory
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-4, -4, -1, 4, 4, 2), shape=(8, 8, 3))


def make_history(num_frames=2, channels=3, grid=GRID, turns=1):
    torch.manual_seed(0)
    return StreamingHistory(channels, grid, num_frames, turns).eval()


def meta(token, prev='', pose=None, timestamp=0.0):
    return dict(
        token=token,
        prev=prev,
        timestamp=timestamp,
        ref2global=np.eye(4) if pose is None else pose,
    )


def shifted(x=0.0, y=0.0, angle=0.0, flip=False):
    pose = np.eye(4)
    c, s = math.cos(angle), math.sin(angle)
    pose[:2, :2] = [[c, -s], [s, c]]
    if flip:
        pose[:3, 1] *= -1
    pose[:2, 3] = [x, y]
    return pose


def test_the_past_changes_the_output_and_its_absence_does_not():
    volumes = torch.rand(3, 1, 3, *GRID.shape)
    streamed, fresh = make_history(), make_history()
    with torch.no_grad():
        streamed(volumes[0], [meta('a')])
        with_past = streamed(volumes[1], [meta('b', 'a')])
        without = fresh(volumes[1], [meta('b', 'a')])
        again = fresh(volumes[1], [meta('x')])
    assert not torch.equal(with_past, without)
    # an unknown predecessor is a fresh start, like no predecessor
    assert torch.equal(without, again)


def test_the_batch_slot_does_not_matter():
    volumes = torch.rand(2, 2, 3, *GRID.shape)
    one, two = make_history(), make_history()
    with torch.no_grad():
        one(volumes[0], [meta('a'), meta('b')])
        straight = one(volumes[1], [meta('a1', 'a'), meta('b1', 'b')])
        two(volumes[0], [meta('a'), meta('b')])
        swapped = two(volumes[1].flip(0), [meta('b1', 'b'), meta('a1', 'a')])
        # sequences that arrive in batches of another size, too
        three = make_history()
        three(volumes[0, :1], [meta('a')])
        single = three(volumes[1, :1], [meta('a1', 'a')])
    torch.testing.assert_close(straight.flip(0), swapped)
    torch.testing.assert_close(straight[:1], single)


def test_validation_leaves_training_streams_alone():
    volumes = torch.rand(3, 1, 3, *GRID.shape)
    history = make_history()
    history.train()
    history(volumes[0], [meta('a')])
    history.eval()
    history(volumes[2], [meta('v')])
    history.train()
    assert list(history._streams[True]) == ['a']
    # and a new evaluation knows nothing of the last one
    history.eval()
    assert not history._streams[False]


@pytest.mark.parametrize(
    'before, now',
    [
        (shifted(), shifted(x=2.0)),
        (shifted(x=5, y=1, angle=0.3), shifted(x=6, y=1, angle=0.3)),
        (shifted(), shifted(flip=True)),
        (shifted(flip=True), shifted(angle=math.pi / 2)),
    ],
)
def test_alignment_is_exact_at_voxel_centres(before, now):
    # a past volume that holds its own global coordinates must read as
    # the global coordinates of the current voxel centres. Corner origins
    # and flips between frames used to shift it by a whole voxel.
    history = make_history()
    centers = GRID.centers(dtype=torch.float64)

    def to_global(pose):
        pose = torch.from_numpy(pose)
        return centers @ pose[:3, :3].T + pose[:3, 3]

    past_volume = to_global(before).permute(3, 0, 1, 2).float()
    history._remember(past_volume[None, None], [meta('a', pose=before)], [[]])
    pasts = [history._streams[False]['a']]
    now_volume = torch.zeros(1, *past_volume.shape)
    frames, _ = history._align(now_volume, [meta('b', 'a', pose=now)], pasts)
    aligned = frames[0, 1]
    expected = to_global(now)
    back = (expected - torch.from_numpy(before)[:3, 3]) @ torch.from_numpy(
        before
    )[:3, :3]
    # away from the border, where zero padding mixes in
    low = torch.tensor(GRID.min) + 0.5 * torch.tensor(GRID.size)
    high = torch.tensor(GRID.max) - 0.5 * torch.tensor(GRID.size)
    inner = ((back >= low - 1e-6) & (back <= high + 1e-6)).all(-1)
    assert inner.float().mean() > 0.5
    torch.testing.assert_close(
        aligned.permute(1, 2, 3, 0)[inner].double(),
        expected[inner],
        atol=1e-4,
        rtol=0,
    )


def test_ages_come_from_timestamps():
    history = make_history(num_frames=2)
    seen = []
    history.time_conv.register_forward_hook(
        lambda module, args, output: seen.extend(
            float(age) for age in args[0][:, -1].mean(dim=(1, 2, 3))
        )
    )
    volume = torch.rand(1, 3, *GRID.shape)
    with torch.no_grad():
        history(volume, [meta('a', timestamp=1.0)])
        history(volume, [meta('b', 'a', timestamp=1.6)])
        seen.clear()
        history(volume, [meta('c', 'b', timestamp=2.0)])
    assert seen == pytest.approx([0.0, 0.4, 1.0], abs=1e-5)


def test_warmup_stands_copies_in_and_stores_nothing():
    history = make_history().train()
    volumes = torch.rand(2, 1, 3, *GRID.shape)
    history.warmup = True
    with torch.no_grad():
        history(volumes[0], [meta('a')])
        warm = history(volumes[1], [meta('b', 'a')])
    assert not history._streams[True]
    fresh = make_history().train()
    with torch.no_grad():
        fresh(volumes[0], [meta('a')])  # the same running statistics
        assert torch.equal(warm, fresh(volumes[1], [meta('x')]))


def test_evaluation_has_its_past_during_the_warmup():
    volumes = torch.rand(2, 1, 3, *GRID.shape)
    warm, trained = make_history(), make_history()
    warm.warmup = True
    with torch.no_grad():
        for history in (warm, trained):
            history(volumes[0], [meta('a')])
        inputs = volumes[1], [meta('b', 'a')]
        assert torch.equal(warm(*inputs), trained(*inputs))


def stream(history, steps):
    """The last output for volumes of equal statistics, 0.5 s apart."""
    generator = torch.Generator().manual_seed(1)
    shape = history.grid.shape
    for i in range(steps):
        volume = torch.randn(1, 3, *shape, generator=generator)
        prev = f'{i - 1}' if i else ''
        output = history(volume, [meta(f'{i}', prev, timestamp=0.5 * i)])
    return output


def test_training_and_evaluation_compute_the_same_function():
    # a call per frame gave each age statistics of its own: evaluation,
    # which has one set, was 1.6 standard deviations away
    grid = VoxelGrid(GRID.range, (32, 32, 4))  # enough for statistics
    history = make_history(num_frames=16, grid=grid).train()
    with torch.no_grad():
        trained = stream(history, 60)
        evaluated = stream(history.eval(), 60)
    assert trained.shape == evaluated.shape
    difference = (trained - evaluated).square().mean().sqrt()
    difference = difference / trained.std()
    assert difference < 0.05


def test_the_age_channel_learns():
    # normalised frame by frame, the age was subtracted with the mean
    history = make_history(num_frames=4).train()
    stream(history, 5)
    volume = torch.randn(1, 3, *GRID.shape)
    out = history(volume, [meta('5', '4', timestamp=2.5)])
    target = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    (out * target).sum().backward()
    gradient = history.time_conv.conv.weight.grad.abs().flatten(1).mean(0)
    # the last channel is the age; the others are volumes
    assert gradient[-1] > 0.1 * gradient[:-1].mean()


def test_only_the_last_frames_and_live_streams_are_kept():
    history = make_history(num_frames=2)
    volume = torch.rand(1, 3, *GRID.shape)
    with torch.no_grad():
        for i in range(5):
            prev = f'a{i - 1}' if i else ''
            history(volume, [meta(f'a{i}', prev)])
            history(volume, [meta(f'end{i}')])
    streams = history._streams[False]
    assert len(streams) <= 2
    assert all(len(past) <= 2 for past in streams.values())


@pytest.mark.parametrize('told, found', [(5, 1), (1, 0)])
def test_streams_that_take_turns_all_have_their_past(told, found):
    """And a network that is told of fewer forgets, it does not mix."""
    history = make_history(num_frames=1, turns=told)
    read = []
    past_of = history._past
    history._past = lambda meta: read.append(past_of(meta)) or read[-1]
    volume = torch.rand(1, 3, *GRID.shape)
    with torch.no_grad():
        for step in range(2):
            for stream in 'abcde':
                prev = f'{stream}{step - 1}' if step else ''
                history(volume, [meta(f'{stream}{step}', prev)])
    assert [len(past) for past in read] == [0] * 5 + [found] * 5


def test_gradients_stop_at_the_past():
    history = make_history().train()
    first = torch.rand(1, 3, *GRID.shape, requires_grad=True)
    second = torch.rand(1, 3, *GRID.shape, requires_grad=True)
    history(first, [meta('a')])
    history(second, [meta('b', 'a')]).sum().backward()
    assert first.grad is None and second.grad is not None


def test_streams_go_on_in_another_copy_of_the_network():
    volumes = torch.rand(3, 1, 3, *GRID.shape)
    metas = [
        [meta('a', pose=shifted(1.0), timestamp=1.0)],
        [meta('b', 'a', pose=shifted(1.5), timestamp=1.5)],
        [meta('c', 'b', pose=shifted(2.25), timestamp=2.0)],
    ]
    one, two = make_history().train(), make_history().train()
    for step in (0, 1):
        one(volumes[step], metas[step])
    weights = one.state_dict()
    state = one.stream_state()
    # weights are what they were without streams
    assert weights.keys() == two.state_dict().keys()
    two.load_state_dict(weights)
    two.load_stream_state(state)
    assert [len(s['volumes']) for s in state] == [2]
    assert torch.equal(one(volumes[2], metas[2]), two(volumes[2], metas[2]))
    # the state was taken, not the streams themselves
    assert [stream['token'] for stream in state] == ['b']
