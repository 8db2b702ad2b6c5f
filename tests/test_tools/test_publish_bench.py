"""Tables of docs/results.md: from the file of runs, and from nothing else."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from occsplat.engine import ConfigError

ROOT = Path(__file__).parents[2]
ASKED = (
    'Before.\n\n<!-- differences of mine to host in RayIoU mAVE -->\n'
    'an older table\n<!-- end -->\n\nBetween.\n\n'
    '<!-- runs of host mine in RayIoU image_depth_L1 -->\n<!-- end -->\n'
)


@pytest.fixture
def published(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('comparison.published')


@pytest.fixture
def runs(published):
    """Two seeds on one machine; the first one on another one, too."""

    def run(row, machine, seed, rays, **more):
        scores = dict(RayIoU=rays, **more)
        return published.PublishedRun(row, machine, seed, scores)

    return [
        run('host', 'A', 0, 0.20, mAVE=1.5),
        run('host', 'A', 1, 0.22),
        run('host', 'B', 0, 0.30),
        run('mine', 'A', 0, 0.21, mAVE=1.25, image_depth_L1=2.346),
        run('mine', 'A', 1, 0.25),
        run('mine', 'B', 0, 0.33),
        run('mine', 'C', 0, 0.99),
    ]


def test_differences_are_of_one_machine_and_one_per_seed(published, runs):
    found = published.seed_differences(runs, 'mine', 'host', 'RayIoU')
    # seed 0: the mean of 0.01 and 0.03; machine C has no baseline
    assert found == pytest.approx([0.02, 0.03])
    assert published.seed_differences(runs, 'mine', 'host', 'mIoU') == []


def test_a_document_gets_the_tables_that_it_asks_for(published, runs):
    text = published.fill(ASKED, runs)
    assert 'an older table' not in text
    assert text.startswith('Before.\n\n<!-- differences')
    assert '\n<!-- end -->\n\nBetween.' in text
    lines = text.splitlines()
    assert '| row | seeds | RayIoU | mAVE |' in lines
    # t of one degree of freedom: 12.706 * 0.005 to both sides
    assert '| mine | 2 | +0.025 (-0.039 to +0.089) | -0.25 |' in lines
    assert '| mine | A | 0 | 0.210 | 2.35 |' in lines
    assert '| host | B | 0 | 0.300 | - |' in lines
    # once more changes nothing
    assert published.fill(text, runs) == text


def test_what_leaves_zero_out_is_bold_and_fewer_seeds_are_told(
    published, runs
):
    runs = [
        published.PublishedRun(row, 'A', seed, scores)
        for seed in range(3)
        for row, scores in [
            ('host', dict(RayIoU=0.2, mIoU=0.1)),
            ('mine', dict(RayIoU=0.25 + 0.001 * seed)),
        ]
    ]
    runs[1].scores['mIoU'] = runs[3].scores['mIoU'] = 0.3
    table = published.difference_table(
        runs, ['mine'], 'host', ['RayIoU', 'mIoU']
    )
    assert table[1][1] == '3'
    assert table[1][2].startswith('**+0.051** (+0.04')
    assert table[1][3] == '**+0.200** (+0.200 to +0.200, 2 seeds)'


@pytest.mark.parametrize(
    'asked, message',
    [
        ('runs of hots in RayIoU', 'no run has hots'),
        ('differences of mine to host in Ray', 'no run has Ray'),
        ('what is left', "expected 'differences of"),
    ],
)
def test_what_no_run_has_is_named(published, runs, asked, message):
    with pytest.raises(ConfigError, match=message):
        published.fill(f'<!-- {asked} -->\n<!-- end -->', runs)


def test_a_file_of_runs_comes_back(published, runs, tmp_path):
    path = tmp_path / 'runs.csv'
    published.write_runs(path, runs, ['RayIoU', 'mAVE', 'image_depth_L1'])
    again, metrics = published.read_runs(path)
    assert again == runs
    assert metrics == ['RayIoU', 'mAVE', 'image_depth_L1']


def test_a_run_is_there_once(published, runs, tmp_path):
    path = tmp_path / 'runs.csv'
    published.write_runs(path, [*runs, runs[0]], ['RayIoU'])
    with pytest.raises(ConfigError, match='twice.*host'):
        published.read_runs(path)
    path.write_text('row,seed,RayIoU\n')
    with pytest.raises(ConfigError, match='expected columns row, machine'):
        published.read_runs(path)


def test_the_tool_takes_runs_of_a_work_dir(
    published, runs, tmp_path, monkeypatch
):
    tool = importlib.import_module('publish_bench')
    document, path = tmp_path / 'results.md', tmp_path / 'runs.csv'
    document.write_text(ASKED)
    published.write_runs(path, runs, ['RayIoU', 'mAVE', 'image_depth_L1'])
    for name, metrics in [
        ('host_seed0', dict(RayIoU=0.10046, mAVE=None)),
        ('mine_seed7', dict(RayIoU=0.4, mIoU=0.5)),
    ]:
        folder = tmp_path / 'work' / name
        folder.mkdir(parents=True)
        text = json.dumps(dict(metrics=metrics))
        (folder / 'metrics.json').write_text(text)
    arguments = ['--runs', str(path), '--document', str(document)]
    add = ['--add', str(tmp_path / 'work'), '--machine', 'A']
    monkeypatch.setattr(sys, 'argv', ['publish_bench.py', *arguments, *add])
    tool.main()
    lines = document.read_text().splitlines()
    # in place of 0.20 and 1.5; 0.1005 in the file
    assert '| host | A | 0 | 0.101 | - |' in lines
    assert '| mine | A | 7 | 0.400 | - |' in lines
    again, metrics = published.read_runs(path)
    # the tables are of the digits that are in the file
    assert published.fill(document.read_text(), again) == document.read_text()
    assert len(again) == len(runs) + 1
    assert metrics == ['RayIoU', 'mAVE', 'image_depth_L1']


def test_an_empty_work_dir_is_named(published, tmp_path):
    with pytest.raises(ConfigError, match='has no complete run'):
        published.finished_runs(tmp_path, 'A')


def test_the_documents_tables_are_those_of_the_file(published):
    runs, _ = published.read_runs(ROOT / 'docs/bench_runs.csv')
    text = (ROOT / 'docs/results.md').read_text()
    assert '<!-- differences of' in text
    assert published.fill(text, runs) == text


def test_published_rows_are_of_the_bench_or_explained(published):
    """Each name is a row of the file, or the document says what it is."""
    rows = importlib.import_module('comparison.rows')
    names = {
        row.name
        for row in rows.read_rows(ROOT / 'occupancy_configs/bench/rows.py')
    }
    runs, _ = published.read_runs(ROOT / 'docs/bench_runs.csv')
    text = (ROOT / 'docs/results.md').read_text()
    for name in {run.row for run in runs} - names:
        assert f'`{name}`' in text
