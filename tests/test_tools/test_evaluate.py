"""Saved predictions score as the run that saved them."""

import csv
import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CONFIG = str(HERE / 'echo_config.py')


@pytest.fixture(scope='module')
def tools():
    """The modules test, evaluate and create_data of tools/."""
    added = [str(ROOT / 'tools'), str(HERE)]
    sys.path[:0] = added
    stdlib_test = sys.modules.pop('test', None)
    import create_data
    import evaluate
    import test as test_tool

    yield test_tool, evaluate, create_data
    for path in added:
        sys.path.remove(path)
    sys.modules.pop('test')
    if stdlib_test is not None:
        sys.modules['test'] = stdlib_test


def options(root, *others):
    key = 'test_dataloader.dataset.data_root'
    return ['--cfg-options', f'{key}={root}', *others]


@pytest.fixture(scope='module')
def saved(tools, minitown_infos, tmp_path_factory):
    """Folder of a test run that saved all it can, and its metrics."""
    out = tmp_path_factory.mktemp('saved')
    torch.save(dict(state_dict=dict(speed=torch.tensor(0.8))), out / 'c.pth')
    (out / 'info.json').write_text('{"team": "Echo"}')
    metrics = tools[0].main(
        [CONFIG, str(out / 'c.pth'), '--work-dir', str(out / 'run')]
        + ['--save-predictions', str(out / 'volumes')]
        + ['--save-rays', str(out / 'rays.gz')]
        + ['--challenge-info', str(out / 'info.json')]
        + options(minitown_infos, f'experiment_name={out.name}')
    )
    return out, metrics


@pytest.fixture
def evaluate(tools, minitown_infos, tmp_path):
    """tools/evaluate.py on MiniTown."""

    def run(*arguments):
        return tools[1].main(
            [CONFIG, *map(str, arguments), '--work-dir', str(tmp_path)]
            + options(minitown_infos)
        )

    return run


def test_volumes_score_exactly_as_the_run(saved, evaluate, tmp_path):
    out, metrics = saved
    scores = evaluate(out / 'volumes', '--csv', tmp_path / 'frames.csv')
    assert 0.05 < scores['RayIoU'] < 0.95 and scores['mAVE_TP'] > 0.05
    assert scores == pytest.approx(metrics, rel=0, abs=0, nan_ok=True)
    # of the offsets, not of the runs of classes, which moved along x alone
    assert scores['OffsetError_y+'] > 0.1
    written = json.loads((tmp_path / 'metrics_saved.json').read_text())[
        'metrics'
    ]
    run = json.loads((out / 'run' / 'metrics.json').read_text())['metrics']
    assert written == run
    assert not (tmp_path / 'metrics.json').exists()  # the run's own name

    with open(tmp_path / 'frames.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and len({row['token'] for row in rows}) == 4
    assert {row['scene'] for row in rows} == {'scene-0103'}
    keys = ['token', 'scene', 'rays', 'RayIoU', 'RayIoU@1', 'RayIoU@2']
    keys += ['RayIoU@4', 'mAVE', 'mAVE_TP', 'OccScore', 'camera/mIoU']
    assert list(rows[0])[: len(keys)] == keys
    assert 'bev_mIoU' in rows[0] and 'RayIoU_car' not in rows[0]
    mean = sum(float(row['RayIoU']) for row in rows) / 4
    assert mean == pytest.approx(scores['RayIoU'], abs=0.1)
    assert all(int(row['rays']) > 10_000 for row in rows)


def test_rays_score_as_the_run_up_to_half_precision(
    saved, evaluate, tools, minitown_infos, tmp_path, monkeypatch
):
    out, metrics = saved
    scores = evaluate(out / 'rays.gz', '--csv', tmp_path / 'frames.csv')
    assert set(scores) == {k for k in metrics if 'Ray' in k or 'AVE' in k} | {
        'OccScore'
    }
    for key in ('RayIoU', 'RayIoU@1', 'mAVE', 'mAVE_TP', 'OccScore'):
        assert scores[key] == pytest.approx(metrics[key], abs=2e-3), key
    with open(tmp_path / 'frames.csv') as file:
        assert 'scene-0103' in file.read()

    # the labels as a ray file score nothing but themselves
    truth = tmp_path / 'truth.gz'
    command = ['create_data', 'rays', '--root', str(minitown_infos)]
    monkeypatch.setattr(sys, 'argv', [*command, '--out', str(truth)])
    tools[2].main()
    perfect = evaluate(truth, '--truth', truth)
    assert perfect['RayIoU'] == 1 and perfect['mAVE'] == 0
    # they are finer than those of the config, and rounded
    whole = evaluate(out / 'rays.gz', '--truth', truth)
    assert 0.02 < whole['RayIoU'] < scores['RayIoU']


def test_the_ray_file_says_who_made_it(saved):
    from occsplat.evaluation import read_ray_file

    found = read_ray_file(saved[0] / 'rays.gz')
    assert found.info['team'] == 'Echo' and found.info['method'] == 'OccSplat'
    assert len(found.results) == 4
    assert not list(saved[0].glob('.*'))


def test_images_are_needed_for_metrics_of_cameras_only(
    saved, tools, minitown_infos, tmp_path
):
    root = tmp_path / 'root'
    root.mkdir()
    for path in minitown_infos.iterdir():
        if path.name != 'samples':
            (root / path.name).symlink_to(path)
    (root / 'samples').mkdir()
    arguments = [CONFIG, str(saved[0] / 'volumes')]
    arguments += ['--work-dir', str(tmp_path)]
    with pytest.raises(SystemExit, match='image .* is missing'):
        tools[1].main([*arguments, *options(root)])
    only = "test_evaluator=[dict(type='OccIoUMetric')]"
    cfg = (HERE / 'echo_config.py').read_text()
    config = tmp_path / 'echo_config.py'
    config.write_text(f'{cfg}\n{only}\n')
    arguments[0] = str(config)
    assert 0 < tools[1].main([*arguments, *options(root)])['mIoU'] < 1


def test_missing_and_unknown_frames_are_told(saved, evaluate, tmp_path):
    some = tmp_path / 'some'
    shutil.copytree(saved[0] / 'volumes', some)
    frames = sorted(some.glob('*/*'))
    shutil.rmtree(frames[0])
    message = f'1 of 4 key frames are missing: {frames[0].name}'
    with pytest.raises(SystemExit, match=message):
        evaluate(some)
    shutil.copytree(frames[1], frames[0])
    shutil.copytree(frames[1], some / 'scene' / 'stranger')
    with pytest.raises(SystemExit, match='1 of 5 .* not in .*: stranger'):
        evaluate(some)


def test_a_wrong_frame_is_named(saved, evaluate, tmp_path):
    import numpy as np

    some = tmp_path / 'some'
    shutil.copytree(saved[0] / 'volumes', some)
    path = next(some.glob('*/*/preds.npz'))
    occ = np.load(path)['semantics']
    np.savez(path, semantics=occ)
    with pytest.raises(SystemExit, match=rf'{path}: .*no pred_flow'):
        evaluate(some)


@pytest.mark.parametrize(
    'command', ['nuscenes', 'stats', 'visibility', 'rays']
)
def test_create_data_ends_in_one_message(
    tools, command, tmp_path, monkeypatch
):
    out = ['--out', str(tmp_path / 'x.gz')] if command == 'rays' else []
    where = str(tmp_path / 'nowhere')
    argv = ['create_data', command, '--root', where, *out]
    monkeypatch.setattr(sys, 'argv', argv)
    with pytest.raises(SystemExit, match='error: .*nowhere'):
        tools[2].main()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere'], 'nowhere: expected a folder .* or a ray file'),
        (['nowhere.gz'], 'nowhere.gz'),
        ([str(HERE), '--truth', 'x.gz'], '--truth is for ray files'),
    ],
)
def test_mistakes_end_in_one_message(evaluate, arguments, message):
    with pytest.raises(SystemExit, match=message) as caught:
        evaluate(*arguments)
    assert str(caught.value).startswith('error: ')


def test_challenge_info_needs_a_ray_file(tools, tmp_path):
    arguments = [CONFIG, 'c.pth', '--challenge-info', 'info.json']
    with pytest.raises(SystemExit, match='goes into the file of --save-rays'):
        tools[0].main([*arguments, '--work-dir', str(tmp_path)])
    arguments[2:] = ['--save-rays', str(tmp_path / 'rays.pkl')]
    with pytest.raises(SystemExit, match=r"called \.gz, not '\.pkl'"):
        tools[0].main(
            [*arguments, '--work-dir', str(tmp_path)]
            + ['--cfg-options', f'experiment_name={tmp_path.name}']
        )


def test_undefined_metrics_leave_their_cell_empty(tmp_path):
    from occsplat.evaluation import OccIoUMetric, write_frame_table

    metric = OccIoUMetric(label_spec='openocc')
    free = torch.full(metric.grid.shape, metric.spec.free, dtype=torch.uint8)
    metric.add('t', free, free)
    assert math.isnan(metric.frame_scores()['t']['mIoU'])
    write_frame_table(tmp_path / 'frames.csv', [metric], dict(t='s'))
    assert (tmp_path / 'frames.csv').read_text() == (
        'token,scene,mIoU,IoU\nt,s,,\n'
    )
