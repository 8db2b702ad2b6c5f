"""Which samples of a run are drawn, and where the sheets go."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.visualization import (
    LocalVisBackend,
    TensorboardVisBackend,
    Visualizer,
)
from PIL import Image

from occsplat.engine import SampleSheetHook, sample_sheet_hook
from occsplat.structures import LabelSpec, OccDataSample

SPEC = LabelSpec.named('occ3d')


class Loader(list):
    dataset = SimpleNamespace(label_spec=SPEC)


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A function from classes of backends to what the hook sees of a run;
    ``drawn`` has name, size and step of what went to the visualizer.
    """
    monkeypatch.setattr(
        sample_sheet_hook, 'input_sheet', lambda *a, **k: picture(6)
    )
    monkeypatch.setattr(
        sample_sheet_hook, 'sample_sheet', lambda *a, **k: picture(4)
    )

    def make(*backends, batches=9):
        visualizer = Visualizer(
            vis_backends=[kind(str(tmp_path / 'vis')) for kind in backends]
        )
        drawn = []
        visualizer.add_image = lambda name, image, step: drawn.append(
            (name, image.shape, step)
        )
        loader = Loader([None] * batches)
        return SimpleNamespace(
            iter=0,
            visualizer=visualizer,
            train_dataloader=loader,
            val_dataloader=loader,
            test_dataloader=loader,
            drawn=drawn,
        )

    return make


def picture(height):
    return np.zeros((height, 8, 3), np.uint8)


def batch(index, size=2, **data):
    """Samples of a loader, and the same with a prediction."""
    samples = [
        OccDataSample(
            metainfo=dict(scene_name='scene', sample_idx=size * index + n),
            **data,
        )
        for n in range(size)
    ]
    imgs = [torch.zeros(1, 6, 3, 4, 8, dtype=torch.uint8)] * size
    return dict(inputs=dict(imgs=imgs), data_samples=samples), samples


def validate(hook, runner, **data):
    for index in range(len(runner.val_dataloader)):
        hook.after_val_iter(runner, index, *batch(index, **data))


PREDICTED = dict(pred_occ=torch.zeros(2, 2, 2, dtype=torch.uint8))


def test_every_validation_draws_the_same_spread_out_frames(runner):
    run = runner(LocalVisBackend, TensorboardVisBackend)
    hook = SampleSheetHook(samples=3)
    for run.iter in (100, 200):
        validate(hook, run, **PREDICTED)
    # the middle batch of each third of nine; the first sample of two
    names = [f'val_scene_{2 * index:06d}' for index in (1, 4, 7)]
    assert run.drawn == [
        (name, (4, 8, 3), step) for step in (100, 200) for name in names
    ]


@pytest.mark.parametrize('batches, places', [(1, [0]), (2, [0, 1]), (0, [])])
def test_a_short_validation_is_drawn_as_a_whole(runner, batches, places):
    run = runner(TensorboardVisBackend, batches=batches)
    validate(SampleSheetHook(samples=3), run, **PREDICTED)
    assert [name for name, *_ in run.drawn] == [
        f'val_scene_{2 * place:06d}' for place in places
    ]


def test_the_input_is_drawn_at_the_start_and_every_so_often(runner):
    run = runner(TensorboardVisBackend)
    hook = SampleSheetHook(train_interval=4)
    for run.iter in range(10):
        hook.before_train_iter(run, run.iter, batch(run.iter)[0])
    assert run.drawn == [('train_input', (6, 8, 3), n) for n in (0, 4, 8)]


def test_nobody_draws_for_the_work_dir_alone(runner):
    """Drawing takes seconds, and numba, which a training may lack."""
    run = runner(LocalVisBackend)
    hook = SampleSheetHook()
    hook.before_train_iter(run, 0, batch(0)[0])
    validate(hook, run, **PREDICTED)
    assert run.drawn == []


def test_one_process_draws(runner, monkeypatch):
    run = runner(TensorboardVisBackend)
    monkeypatch.setattr(sample_sheet_hook, 'is_main_process', lambda: False)
    hook = SampleSheetHook()
    hook.before_train_iter(run, 0, batch(0)[0])
    validate(hook, run, **PREDICTED)
    assert run.drawn == []


def test_a_network_without_a_volume_is_validated_without_sheets(runner):
    run = runner(TensorboardVisBackend)
    validate(SampleSheetHook(), run, pred_depth=torch.zeros(6, 1, 2))
    assert run.drawn == []


def test_a_test_writes_every_sample_and_only_where_it_is_told(
    runner, tmp_path
):
    run = runner(TensorboardVisBackend)
    SampleSheetHook().after_test_iter(run, 0, *batch(0, **PREDICTED))
    hook = SampleSheetHook(tmp_path / 'sheets')
    for index in range(2):
        hook.after_test_iter(run, index, *batch(index, **PREDICTED))
    written = sorted((tmp_path / 'sheets').iterdir())
    assert [path.name for path in written] == [
        f'scene_{index:06d}.png' for index in range(4)
    ]
    with Image.open(written[0]) as image:
        assert image.size == (8, 4)
    assert run.drawn == []


@pytest.mark.parametrize('wrong', [dict(samples=0), dict(train_interval=0)])
def test_at_least_one(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f'{name}.* 0'):
        SampleSheetHook(**wrong)
