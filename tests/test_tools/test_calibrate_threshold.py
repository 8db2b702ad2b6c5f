"""The threshold that is found is right, kept, and used."""

import csv
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CONFIG = str(HERE / 'opaque_config.py')
SOME = ['--thresholds', '0.1', '0.3', '0.35']


@pytest.fixture(scope='module')
def tools():
    """The modules calibrate_threshold and test of tools/, and echo."""
    added = [str(ROOT / 'tools'), str(HERE)]
    sys.path[:0] = added
    stdlib_test = sys.modules.pop('test', None)
    import echo

    import calibrate_threshold
    import test as test_tool

    yield calibrate_threshold, test_tool, echo
    for path in added:
        sys.path.remove(path)
    sys.modules.pop('test')
    if stdlib_test is not None:
        sys.modules['test'] = stdlib_test


@pytest.fixture
def checkpoint(tools, tmp_path):
    from occsplat.engine import load_config
    from occsplat.models.heads import OccHead

    head = load_config(CONFIG).model.occ_head
    head.pop('type')
    model = torch.nn.Module()
    model.occ_head = OccHead(**head)
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1)), path)
    return path


@pytest.fixture
def calibrate(tools, minitown_infos, checkpoint):
    """tools/calibrate_threshold.py on MiniTown, and the tokens it saw."""

    def run(*arguments, options=()):
        seen = tools[2].OpaqueEchoModel.seen
        seen.clear()
        best = tools[0].main(
            [CONFIG, str(checkpoint), '--device', 'cpu', *arguments]
            + ['--cfg-options', *options]
            + [
                f'{split}_dataloader.dataset.data_root={minitown_infos}'
                for split in ('train', 'val')
            ]
        )
        return best, list(seen)

    return run


def meta_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)['meta']


def tokens(root, split):
    from occsplat.data.safe_pickle import load_plain

    content = load_plain(root / f'occsplat_infos_{split}.pkl')
    return [entry['token'] for entry in content['data_list']]


def test_the_best_threshold_is_found_and_used(
    tools, calibrate, checkpoint, minitown_infos, tmp_path, capsys
):
    best, seen = calibrate(*SOME, '--frames', '2')
    # of the equals 0.3 and 0.35 the lower one
    assert best == 0.3
    assert meta_of(checkpoint)['opacity_threshold'] == 0.3
    assert meta_of(checkpoint)['epoch'] == 1
    found = 'best RayIoU of 4 thresholds, 1.0000, on the last 2 of 4'
    assert found in meta_of(checkpoint)['opacity_threshold_found']
    assert 'so far 0.5, 0.0000' in capsys.readouterr().out
    # the network ran once per frame, over what test.py does not see
    assert seen == tokens(minitown_infos, 'train')[-2:]

    def test(step, *options):
        return tools[1].main(
            [CONFIG, str(checkpoint), '--work-dir', str(tmp_path)]
            + ['--cfg-options', f'experiment_name={tmp_path.name}_{step}']
            + [f'test_dataloader.dataset.data_root={minitown_infos}']
            + list(options)
        )

    option = 'model.occ_head.opacity_threshold'
    assert test('stored')['RayIoU'] == 1
    ghosts = test('given', f'{option}=0.1')
    assert ghosts['RayIoU'] < 1 and ghosts['GhostRate'] > 0.1
    assert ghosts['Runs'] > ghosts['Runs_gt']


def test_a_dry_run_only_writes_the_table(calibrate, checkpoint, tmp_path):
    before = checkpoint.read_bytes()
    out = tmp_path / 'tables'
    arguments = ['--dry-run', '--by', 'seen/mIoU', '--out', str(out)]
    best, _ = calibrate(*SOME, '--frames', '1', *arguments)
    assert best == 0.3
    assert checkpoint.read_bytes() == before
    with open(out / 'thresholds.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    thresholds = [row['threshold'] for row in rows]
    assert thresholds == ['0.1', '0.3', '0.35', '0.5']
    assert list(rows[0])[:6] == [
        'threshold',
        *('RayIoU', 'RayIoU@1', 'RayIoU@2', 'RayIoU@4'),
        'mIoU',
    ]
    assert list(rows[0])[-5:] == [
        *('FalseBehind', 'FalseBefore', 'Runs', 'GhostRate', 'Thickness')
    ]
    assert 'seen/mIoU' in rows[0]
    assert 'bev_mIoU' not in rows[0]
    column = [float(row['mIoU']) for row in rows]
    assert column[1] == column[2] == 1 and column[3] == 0
    assert 0 < column[0] < 1
    # duplicates are counted for the best one alone
    assert [row['Runs'] == '' for row in rows] == [True, False, True, True]
    assert float(rows[1]['FalseBehind']) == float(rows[1]['GhostRate']) == 0
    assert float(rows[1]['Runs']) >= 1
    text = (out / 'thresholds.md').read_text()
    assert '| **0.3** | 1.0000' in text and 'best seen/mIoU' in text
    assert len(list(out.iterdir())) == 2


def test_scores_that_say_nothing_choose_no_threshold(
    calibrate, checkpoint, capsys
):
    before = checkpoint.read_bytes()
    # everything is free from 0.5 on
    calibrate('--thresholds', '0.6', '0.7', '--frames', '1')
    assert 'RayIoU is 0 at every threshold' in capsys.readouterr().out
    assert checkpoint.read_bytes() == before


def test_validation_frames_on_demand(calibrate, minitown_infos):
    _, seen = calibrate('--thresholds', '0.3', '--split', 'val')
    assert seen == tokens(minitown_infos, 'val')


def test_the_default_slice(tools):
    indices = tools[0].frame_indices
    assert indices(1000, 'train', None) == range(900, 1000)
    assert indices(64, 'train', None) == range(44, 64)
    assert indices(8, 'train', None) == range(8)
    assert indices(64, 'val', None) == range(64)
    assert indices(64, 'val', 3) == range(61, 64)


def test_the_end_of_the_list_is_told(calibrate, capsys):
    calibrate('--thresholds', '0.3', '--frames', '1', '--dry-run')
    assert 'at the end of the list' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'options', 'message'),
    [
        ([], ['model.occ_head.opacity_threshold=None'], 'OccHead of model'),
        (['--thresholds', '1'], [], '--thresholds must be between 0 and 1'),
        (['--frames', '0'], [], '--frames must be >= 1'),
        (['--by', 'mIoUs'], [], 'mIoUs: expected one of RayIoU'),
        (['--by', 'Runs'], [], 'Runs: expected one of RayIoU'),
        ([], ['test_evaluator=[]'], 'test_evaluator: expected one of RayIoU'),
    ],
)
def test_mistakes_end_in_one_message(
    calibrate, checkpoint, arguments, options, message
):
    before = checkpoint.read_bytes()
    with pytest.raises(SystemExit, match=message) as caught:
        calibrate('--frames', '1', *arguments, options=options)
    assert str(caught.value).startswith('error: ')
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ('config', 'last'),
    [
        ('gaussrender/gaussrender-2d_fbocc', 'occ_branch'),
        ('gsrender/gsrender-1f_bevstereo', 'mlp'),
        ('renderocc/renderocc-1f_bevstereo', 'semantic'),
    ],
)
def test_a_real_network(tools, minitown_infos, tmp_path, config, last):
    from mmdet3d.registry import MODELS

    from occsplat.engine import load_config

    path = tmp_path / 'a.pth'
    config = str(ROOT / 'occupancy_configs' / f'{config}-tiny_minitown.py')
    torch.manual_seed(0)
    model = MODELS.build(load_config(config).model)
    head = model.occ_head
    road = head.spec.classes.index('driveable_surface')
    with torch.no_grad():
        # the road is everywhere, also two metres before it is hit
        layer = getattr(head, last)[-1]
        layer.weight.zero_()
        layer.bias.zero_()
        layer.bias[road + (last == 'mlp')] = 9.0
        if last == 'occ_branch':
            layer.bias[head.spec.free] = 9.0
        if last == 'semantic':
            head.density[-1].bias.fill_(1.0)
    torch.save(dict(state_dict=model.state_dict()), path)
    root = f'data_root={minitown_infos}'
    arguments = ['--device', 'cpu', '--frames', '1', '--cfg-options', root]
    best = tools[0].main(
        [config, str(path), '--thresholds', '0.3', '0.9', *arguments]
    )
    # about half opaque, whichever head it is
    assert best in (0.1, 0.3, 0.5)
    assert meta_of(path)['opacity_threshold'] == best
