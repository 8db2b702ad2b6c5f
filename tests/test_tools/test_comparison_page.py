"""Logs, curves, costs and the page that shows them."""

import base64
import importlib
import json
import re
from pathlib import Path

import pytest

from occsplat.engine import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def part(monkeypatch):
    """A function from the name of a part to its module."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return lambda name: importlib.import_module(f'comparison.{name}')


def write_log(folder, entries, start='1', end='\n'):
    path = folder / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, entries)) + end)


def step(number, **values):
    return dict(values, iter=number, step=number, epoch=1)


def test_a_resumed_run_is_one_curve(part, tmp_path):
    first = [step(10, loss_a=4.0), step(20, loss_a=3.0), step(30, loss_a=9.0)]
    write_log(tmp_path, [*first, dict(RayIoU=0.25, step=1)], '1')
    write_log(tmp_path, [step(30, loss_a=2.0), step(40, loss_a=1.0)], '2')
    log = part('logs').read_log(tmp_path)
    curve = part('logs').loss_curve(log, ['loss_a'])
    assert curve == {10: 4.0, 20: 3.0, 30: 2.0, 40: 1.0}
    assert part('logs').validation_curve(log, 'RayIoU') == {1: 0.25}
    assert part('logs').validation_curve(log, 'mIoU') == {}


def test_what_a_killed_run_was_writing_is_left_out(part, tmp_path):
    write_log(tmp_path, [step(10, loss=4.0)], '1', end='\n{"loss": 3.')
    assert list(part('logs').read_log(tmp_path).training) == [10]
    write_log(tmp_path, [step(20, loss=4.0)], '2', end='\n{"loss": 3.\n')
    with pytest.raises(ConfigError, match='2/vis_data.* damaged in line 2'):
        part('logs').read_log(tmp_path)


def test_losses_that_rows_share(part):
    logs = part('logs')
    host = logs.Log({1: step(1, loss=3, loss_a=1, loss_b=2)}, {})
    late = step(2, loss=12, loss_a=1, loss_b=1, loss_render=10)
    method = logs.Log({1: step(1, loss=11, loss_a=1), 2: late}, {})
    terms = logs.shared_losses([host, method])
    assert terms == ['loss_a', 'loss_b']
    assert logs.loss_curve(method, terms) == {1: 1, 2: 2}
    plain = logs.Log({1: step(1, loss=3)}, {})
    assert logs.shared_losses([plain]) == ['loss']
    assert logs.shared_losses([host, plain]) == ['loss']


def test_costs(part):
    logs, rows = part('logs'), part('rows')
    runs = [
        logs.Log({i: step(i, time=t, memory=m)}, {})
        for i, (t, m) in enumerate([(0.5, 10), (0.1, 30), (0.2, 20)])
    ]
    names = [rows.Row('host', 'c.py'), rows.Row('new', 'c.py')]
    weights = dict(host=dict(training=1234, inference=1000))
    table = part('tables').cost_table(names, dict(host=runs), weights)
    assert table == [
        ['row', 'seconds per step', 'GPU MB', 'parameters in training',
         'in inference'],
        ['host', '0.2', '30', '1,234', '1,000'],
        ['new', '-', '-', '-', '-'],
    ]  # fmt: skip
    del runs[0].training[0]['memory']
    table = part('tables').cost_table(names[:1], dict(host=runs[:1]), {})
    assert table[0] == [
        'row', 'seconds per step', 'parameters in training', 'in inference',
    ]  # fmt: skip


@pytest.fixture
def report(part, tmp_path):
    """Two families of rows with two seeds each, and their logs."""
    rows = [
        part('rows').Row('host', 'c.py'),
        part('rows').Row('splat', 's.py', (), 'host', ('mAVE',)),
        part('rows').Row('bev', 'd.py'),
        part('rows').Row('more <b>', 'e.py', (), 'splat'),
    ]
    runs = part('runs').plan_runs(rows, (0, 1), tmp_path)
    for number, run in enumerate(runs):
        terms = dict(loss_a=1 / (1 + number), loss=2.0, time=0.1)
        if run.row.name == 'splat':
            terms['loss_render'] = 5.0
        entries = [step(10, **terms), step(20, **terms)]
        epochs = [dict(RayIoU=0.1 * number, step=e) for e in (1, 2)]
        write_log(run.folder, entries + epochs)
        record = dict(machine='m', commit='abc', config={}, parameters={})
        (run.folder / 'run.json').write_text(json.dumps(record))
        scores = dict(RayIoU=0.1 * number, mAVE=number**0.5)
        metrics = run.folder / 'metrics.json'
        metrics.write_text(json.dumps(dict(metrics=scores)))
    return part('report').Report(
        ['--rows', 'r.py'], rows, runs, tmp_path / 't.md', tmp_path / 'i.html'
    )


def pictures(page):
    """SVG texts by what the pictures show."""
    found = re.findall(
        r'<img src="data:image/svg\+xml;base64,(.*?)" alt="(.*?)">', page
    )
    return {alt: base64.b64decode(data).decode() for data, alt in found}


def test_the_page_has_everything_in_it(part, report):
    text = report.write(last=True)
    page = report.page_path.read_text()
    assert report.table_path.read_text() == text
    assert set(pictures(page)) == {
        'paired differences in mAVE',
        'paired differences in RayIoU',
        'training losses',
        'validations',
    }
    for title in ('Claims', 'Other metrics', 'Learning curves', 'Cost'):
        assert f'<h2>{title}</h2>' in page
    assert 'Commit: abc' in page and 'seconds per step' in page
    assert 'different code' not in page
    assert 'more &lt;b&gt;' in page and 'more <b>' not in page
    # nothing to load
    assert not re.search(r'(src|href)="(?!data:)', page)
    # the same folders, the same page
    report.write(last=True)
    assert report.page_path.read_text() == page


def test_panels_are_families_of_a_baseline(part, report, monkeypatch):
    drawn = []

    def plot(panels, xlabel, ylabel):
        drawn.append((panels, xlabel))
        return 'data:,'

    monkeypatch.setattr(part('page'), 'curve_plot', plot)
    report.write()
    (losses, _), (scores, _) = drawn
    assert {title: list(c) for title, c in losses.items()} == {
        'host: loss_a': ['host', 'splat', 'more <b>'],
        'bev: loss_a': ['bev'],
    }
    assert losses['host: loss_a']['splat'] == [
        {10: 1 / 2, 20: 1 / 2},
        {10: 1 / 6, 20: 1 / 6},
    ]
    assert len(scores) == 2


def test_with_one_validation_there_are_losses_alone(report):
    for run in report.runs:
        (path,) = run.folder.glob('*/vis_data/scalars.json')
        lines = path.read_text().splitlines(keepends=True)
        path.write_text(''.join(lines[:-1]))
    report.write()
    shown = set(pictures(report.page_path.read_text()))
    assert 'training losses' in shown and 'validations' not in shown


def test_runs_of_different_code_are_told(report):
    path = report.runs[0].folder / 'run.json'
    path.write_text(path.read_text().replace('abc', 'def'))
    assert 'The runs are of different code.' in report.write()
    assert 'Commit: abc; def' in report.page_path.read_text()


def test_a_forest_shows_pairs_means_and_both_intervals(
    part, report, monkeypatch
):
    figures = []
    monkeypatch.setattr(
        part('plots'), '_data_uri', lambda f: figures.append(f) or 'data:,'
    )
    state = part('state').State(report.rows, report.runs, None, ())
    part('plots').forest_plot(state.contrasts, 'RayIoU')
    (axes,) = figures[0].axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ['splat', 'more <b>']
    assert 'RayIoU' in axes.get_xlabel()
    assert axes.get_xlabel().endswith('higher is better')
    by_t, bootstrap, pairs, mean, *_ = axes.get_lines()
    (splat,) = [
        c.paired
        for c in state.contrasts
        if c.row.name == 'splat' and c.metric == 'RayIoU'
    ]
    assert tuple(by_t.get_xdata()) == splat.t_interval
    assert tuple(bootstrap.get_xdata()) == splat.bootstrap_interval
    assert tuple(pairs.get_xdata()) == splat.differences
    assert list(mean.get_xdata()) == [splat.mean]
    assert axes.patches[0].get_width() == 2 * splat.detectable


def test_a_band_is_of_steps_that_all_seeds_have(part, monkeypatch):
    figures = []
    monkeypatch.setattr(
        part('plots'), '_data_uri', lambda f: figures.append(f) or 'data:,'
    )
    curves = dict(host=[{1: 4.0, 2: 2.0, 3: 1.0}, {1: 2.0, 2: 1.0}])
    part('plots').curve_plot(dict(title=curves), 'step', 'loss')
    (axes,) = figures[0].axes
    (line,) = axes.get_lines()
    assert list(line.get_xdata()) == [1, 2]
    assert list(line.get_ydata()) == [3.0, 1.5]
    (band,) = axes.collections
    ys = band.get_paths()[0].vertices[:, 1]
    assert (ys.min(), ys.max()) == (1.0, 4.0)
