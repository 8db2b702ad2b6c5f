"""Several processes save every frame once."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from occsplat.engine import SavePredictionsHook, save_predictions_hook
from occsplat.evaluation import read_ray_file, read_volumes
from occsplat.structures import (
    DataError,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(SPEC.grid.range, (20, 20, 4))
RUNNER = SimpleNamespace(logger=logging.getLogger('test'))


def sample(token, label):
    """A frame whose ground is all of one class."""
    occ = torch.full(GRID.shape, SPEC.free, dtype=torch.uint8)
    occ[:, :, 0] = label
    origin = np.array([[0.0, 0.0, 1.8]], np.float32)
    meta = dict(token=token, scene_name='scene', ray_origins=origin)
    flow = torch.zeros(*GRID.shape, 2)
    return OccDataSample(metainfo=meta, pred_occ=occ, pred_flow=flow)


@pytest.fixture
def save(monkeypatch, tmp_path):
    """Save the frames of several ranks to a folder of that name."""

    def run(name, *ranks, ray_file=True):
        out = tmp_path / name
        tokens = [[s.token for s in frames] for frames in ranks]
        hooks = []

        def become(rank):
            for key, value in dict(
                get_rank=lambda: rank,
                is_main_process=lambda: rank == 0,
                all_gather_object=lambda own: tokens,
            ).items():
                monkeypatch.setattr(save_predictions_hook, key, value)

        for rank in range(len(ranks)):
            become(rank)
            hook = SavePredictionsHook(
                grid=GRID,
                out_dir=str(out / 'volumes'),
                ray_file=str(out / 'rays.gz') if ray_file else None,
                label_spec='openocc',
            )
            hook.before_test(RUNNER)
            hooks.append(hook)
        for rank, frames in enumerate(ranks):
            become(rank)
            for frame in frames:
                hooks[rank].after_test_iter(RUNNER, 0, None, [frame])
        # the main process waits for the others
        for rank in reversed(range(len(ranks))):
            become(rank)
            hooks[rank].after_test(RUNNER)
        return out

    return run


def files(folder):
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()
    )


def ground(out, token):
    path = out / 'volumes' / 'scene' / token / 'preds.npz'
    return int(read_volumes(path, SPEC, GRID)[0][0, 0, 0])


def test_ranks_write_what_one_process_writes(save):
    frames = [sample(token, i) for i, token in enumerate('dbca')]
    one = save('one', frames)
    # the sampler served frame d again to make the ranks even
    two = save('two', frames[:2], [*frames[2:], sample('d', 12)])
    assert (
        files(one)
        == files(two)
        == [
            'rays.gz',
            *(f'volumes/scene/{token}/preds.npz' for token in 'abcd'),
        ]
    )
    rays = (one / 'rays.gz').read_bytes()
    assert rays == (two / 'rays.gz').read_bytes()
    assert list(read_ray_file(one / 'rays.gz').results) == list('abcd')
    assert [ground(two, t) for t in 'abcd'] == [3, 1, 2, 0]


def test_the_first_of_two_predictions_is_kept(save):
    out = save('twice', [sample('a', 3), sample('a', 4)])
    assert ground(out, 'a') == 3
    label = read_ray_file(out / 'rays.gz').rays('a').label
    assert set(label.tolist()) == {3, SPEC.free}


def test_volumes_alone(save):
    out = save('alone', [sample('a', 3)], ray_file=False)
    assert files(out) == ['volumes/scene/a/preds.npz']


def test_leftovers_of_an_interrupted_run_do_not_count(save, tmp_path):
    stale = tmp_path / 'out' / '.rays.gz.frames'
    stale.mkdir(parents=True)
    (stale / 'gone.npz').touch()
    out = save('out', [sample('a', 3)])
    assert list(read_ray_file(out / 'rays.gz').results) == ['a']
    assert not stale.exists()


@pytest.mark.parametrize(
    ('field', 'value'),
    [('pred_occ', 255), ('pred_occ', 17), ('pred_flow', float('nan'))],
)
def test_what_makes_no_sense_is_not_written(save, tmp_path, field, value):
    wrong = sample('a', 3)
    # where no ray comes
    wrong.get(field)[0, 0, 3] = value
    with pytest.raises(DataError, match=f"sample 'a', {field}"):
        save('out', [wrong])
    assert files(tmp_path) == []
