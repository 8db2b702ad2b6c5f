"""What a prediction costs is counted and timed as it says."""

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
SMALL = str(ROOT / 'tests/small_fbocc_config.py')
TOY = str(Path(__file__).with_name('toy_config.py'))


@pytest.fixture
def tool(monkeypatch):
    """A function from the name of a module in tools/ to the module."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    monkeypatch.syspath_prepend(str(ROOT / 'projects'))
    monkeypatch.syspath_prepend(str(Path(TOY).parent))
    return importlib.import_module


@pytest.fixture
def inference(tool):
    return tool('benchmarks.inference')


def test_percentiles(inference):
    """Of 0 to 100 ms, one a millisecond: the ranks themselves."""
    seconds = [i / 1e3 for i in reversed(range(101))]
    assert inference.percentiles(seconds) == pytest.approx(
        {'p50 ms': 50.0, 'p90 ms': 90.0, 'p99 ms': 99.0}
    )
    # between two values linearly
    assert inference.percentiles([0.01, 0.02]) == pytest.approx(
        {'p50 ms': 15.0, 'p90 ms': 19.0, 'p99 ms': 19.9}
    )


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.img_backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)
        )
        self.occ_head = nn.Linear(4, 5, bias=False)
        self.history = None

    def forward(self, image):
        features = self.img_backbone(image)
        # a frame to match with passes the first layer alone
        self.img_backbone[0](image)
        pixels = features.flatten(2).transpose(1, 2)  # (2, 20, 4)
        scores = self.occ_head(pixels)
        return scores @ scores.transpose(1, 2)  # nobody's


def test_operations_and_parameters(inference):
    """Two for each product and its sum, by hand."""
    model, image = Parts(), torch.rand(2, 3, 4, 5)
    costs = inference.part_costs(model, lambda: model(image))
    assert list(costs) == [*inference.PARTS, 'all']
    pixels = 2 * 4 * 5
    first, second = 2 * pixels * 8 * 3 * 9, 2 * pixels * 4 * 8
    head, rest = 2 * pixels * 4 * 5, 2 * 2 * 20 * 20 * 5
    backbone = 2 * first + second
    assert costs['img_backbone'].gflops * 1e9 == pytest.approx(backbone)
    assert costs['occ_head'].gflops * 1e9 == pytest.approx(head)
    total = backbone + head + rest
    assert costs['all'].gflops * 1e9 == pytest.approx(total)
    assert costs['img_backbone'].parameters * 1e6 == pytest.approx(
        3 * 8 * 9 + 8 + 8 * 4 + 4
    )
    assert costs['occ_head'].parameters * 1e6 == pytest.approx(20)
    assert costs['history'] is costs['lifter'] is None
    # hooks are gone
    assert not model.occ_head._forward_pre_hooks


def test_costs_of_a_detector(inference, minitown_infos, capsys):
    root = {'test_dataloader.dataset.data_root': str(minitown_infos)}
    costs = inference.count_costs(SMALL, root, 'cpu')
    there = {part: cost for part, cost in costs.items() if cost}
    assert set(there) == {*inference.PARTS, 'all'} - {'offset_head'}
    assert all(min(cost) > 0 for cost in there.values())
    total = there.pop('all')
    for i in range(2):
        assert sum(c[i] for c in there.values()) == pytest.approx(total[i])
    inference.print_costs_table(costs)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(' | ')[0] for line in lines[2:]] == [
        f'| {part}' for part in costs
    ]
    assert '| offset_head | - | - |' in lines


@pytest.mark.parametrize('host', ['tpvformer', 'surroundocc'])
def test_parameters_may_enter_a_module(inference, minitown_infos, host):
    """Queries of a lifter do."""
    root = {'test_dataloader.dataset.data_root': str(minitown_infos)}
    config = ROOT / f'occupancy_configs/{host}/{host}-tiny_minitown.py'
    costs = inference.count_costs(str(config), root, 'cpu')
    there = [cost for part, cost in costs.items() if cost and part != 'all']
    assert costs['lifter'] in there
    total = sum(cost.gflops for cost in there)
    assert total == pytest.approx(costs['all'].gflops)


def test_frames_follow_one_another(inference, minitown_infos):
    """The history is full when predictions are timed."""
    root = {'test_dataloader.dataset.data_root': str(minitown_infos)}
    model, frames = inference.prepare(SMALL, root, 'cpu')
    known = []
    past = model.history._past

    def spy(meta):
        known.append(len(found := past(meta)))
        return found

    model.history._past = spy
    with torch.no_grad():
        for _ in range(6):
            model.test_step(next(frames))
    assert known == [0, 1, 2, 2, 2, 2]


def test_table_of_inference(tool, inference, monkeypatch, capsys):
    """Rows in turn; what does not compile says so and is left out."""
    calls = []

    def measured(function, *arguments):
        if function is inference.count_costs:
            return dict.fromkeys([*inference.PARTS, 'all'])
        setting = arguments[-1]
        calls.append(setting)
        if setting.compiled:
            raise inference.NotCompiled('no compiler')
        # a slow round, the same for all
        slow = 10 if len(calls) > 3 else 1
        time = (0.05 if setting.amp else 0.1) * slow
        return [time, time, 512.0 + setting.amp]

    monkeypatch.setattr(inference, 'in_new_process', measured)
    arguments = ['inference', TOY, '--amp', '--compile', '--rounds', '2']
    arguments += ['--frames', '2', '--device', 'cpu', '--threads', '1']
    tool('benchmark').main(arguments)
    assert [(c.amp, c.compiled) for c in calls] == [
        (False, False), (True, False), (False, True),
        (False, False), (True, False),
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert '1 threads' in lines[0] and '2 rounds of 2 frames' in lines[0]
    name = '| toy_config, '
    assert lines[4:7] == [
        f'{name}fp32 | 1.82 | 550.0 | 1000.0 | 1000.0 | 512 | '
        '1.00 (1.00 to 1.00) |',
        f'{name}amp | 3.64 | 275.0 | 500.0 | 500.0 | 513 | '
        '0.50 (0.50 to 0.50) |',
        f'{name}torch.compile | no compiler | - | - | - | - | - |',
    ]
    assert len({line.count('|') for line in lines[2:7]}) == 1
    assert lines[8] == 'toy_config'


def test_what_cannot_be_compiled(inference):
    model = Parts()
    with pytest.raises(inference.NotCompiled, match='RuntimeError: no . here'):

        def fails():
            raise RuntimeError('no |\nhere')

        inference.compile_parts(model, fails)


def test_a_real_measurement(tool, inference, capsys):
    """From the command line to processes of their own."""
    setting = inference.Setting('cpu', 1, 4)
    *times, peak = inference.measure_inference(
        TOY, {'experiment_name': 'cost'}, setting
    )
    assert len(times) == 4 and min(times) > 0 and 100 < peak < 100_000


@pytest.mark.parametrize(
    'arguments', [[], [TOY, '--frames', '0'], [TOY, '--device', 'tpu']]
)
def test_wrong_arguments(tool, arguments, capsys):
    with pytest.raises(SystemExit):
        tool('benchmark').main(['inference', *arguments])
    assert 'error' in capsys.readouterr().err
