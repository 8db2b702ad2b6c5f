"""Row files: what they may say, and what is wrong with those that don't."""

import importlib
from pathlib import Path

import pytest

from occsplat.engine import ConfigError, load_config

ROOT = Path(__file__).parents[2]
HOST = "dict(name='host', config='c.py')"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module('comparison.rows')


@pytest.fixture
def runs(tool):
    return importlib.import_module('comparison.runs')


@pytest.fixture
def read(tool, tmp_path):
    def read(text):
        folder = tmp_path / 'bench'
        folder.mkdir()
        (folder / 'rows.py').write_text(text)
        return tool.read_rows(folder / 'rows.py')

    return read


def test_a_row_has_all_that_the_file_says(read, tmp_path):
    host, splat = read(
        f"""folder = '../splat'
rows = [
    {HOST},
    dict(
        name='splat-0.4',
        config=folder + '/s.py',
        options={{
            'model.render_heads.0.scale': 0.4,
            'train_cfg': dict(max_epochs=8, dynamic=True),
            'a.list': [1, 'x', (2.5, None)],
            'data_root': 'data/other/',
        }},
        baseline='host',
        claim=['mAVE', 'RayIoU_car'],
        seed_offset=7,
    ),
]"""
    )
    assert host.config == str(tmp_path / 'bench' / 'c.py')
    assert host[2:] == ((), None, (), 0)
    assert splat.config == str(tmp_path / 'splat' / 's.py')
    assert splat.options == (
        'model.render_heads.0.scale=0.4',
        'train_cfg.max_epochs=8',
        'train_cfg.dynamic=True',
        "a.list=[1, 'x', (2.5, None)]",
        'data_root=data/other/',
    )
    assert splat[3:] == ('host', ('mAVE', 'RayIoU_car'), 7)


def test_options_reach_a_config_as_they_were_written(tool):
    options = {'a': 1, 'b.c': [1, (2.5, None)], 'd': 'x y', 'e': False}
    pairs = tool.option_pairs(options)
    assert tool.parse_options(pairs) == options
    assert tool.option_pairs(['a=1', 'b="[1,2]"']) == ['a=1', 'b="[1,2]"']


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ('[]', r'rows.py: expected rows = \[dict\(name=..., config'),
        ('7', 'expected rows = .* got 7'),
        ('[7]', r'rows\[0\]: expected a dict, got 7'),
        ("[dict(name='a')]", r'rows\[0\] \(a\): config missing'),
        (
            "[dict(name='a', config='c.py', option={})]",
            "unknown key 'option'; did you mean 'options'",
        ),
        ("[dict(name='a b', config='c.py')]", "becomes a folder.*'a b'"),
        ("[dict(name='a', config=3)]", 'config: expected str, got 3'),
        (
            "[dict(name='a', config='c.py', seed_offset=True)]",
            'seed_offset: expected int, got True',
        ),
        (
            "[dict(name='a', config='c.py', claim='mAVE')]",
            'claim: expected list or tuple',
        ),
        (
            "[dict(name='a', config='c.py', options={'x': '8'})]",
            r"cannot write x = '8': make a config file",
        ),
        (
            "[dict(name='a', config='c.py', options={'x': [dict(y=1)]})]",
            'cannot write x = ',
        ),
        (
            "[dict(name='a', config='c.py', options=['x'])]",
            "expected KEY=VALUE.*got 'x'",
        ),
        (f'[{HOST}, {HOST}]', 'names must differ: two rows are host'),
        (
            f"[dict(name='a', config='c.py', baseline='host'), {HOST}]",
            "row a: no row before it is named 'host'.*there are none",
        ),
        (
            "[dict(name='a', config='c.py', claim=['mIoU'])]",
            'row a: a claim needs a baseline',
        ),
        (
            f"[{HOST}, dict(name='a', config='c.py', baseline='host', "
            "claim=['RayIou'])]",
            "no metric is named 'RayIou'; did you mean 'RayIoU'",
        ),
        ('[', 'row file .*rows.py: SyntaxError'),
        ('[nobody]', "NameError: name 'nobody'"),
    ],
)
def test_mistakes_name_the_row(read, rows, message):
    with pytest.raises(ConfigError, match=message):
        read(f'rows = {rows}')


def test_options_of_all_rows(tool):
    rows = [tool.Row('a', 'c.py', ('x.y=1',)), tool.Row('b', 'c.py')]
    first, second = tool.with_options(rows, ['z=2'])
    assert first.options == ('z=2', 'x.y=1') and second.options == ('z=2',)
    with pytest.raises(ConfigError, match='x.y: row a sets it itself'):
        tool.with_options(rows, ['x.y=2'])
    rows[1] = tool.Row('b', 'c.py', ('randomness.seed=3',))
    with pytest.raises(ConfigError, match='randomness.seed is set by --seeds'):
        tool.with_options(rows, [])


def test_a_row_against_itself_needs_seeds_of_its_own(tool, runs):
    host = tool.Row('host', 'c.py', ('x=1',))
    again = tool.Row('again', 'c.py', ('x=1',), 'host')
    for offset in (0, 2, -1):
        with pytest.raises(ConfigError, match='again is its baseline host'):
            rows = [host, again._replace(seed_offset=offset)]
            runs.plan_runs(rows, (0, 1, 2), 'w')
    rows = [host, again._replace(seed_offset=3)]
    planned = runs.plan_runs(rows, (0, 1, 2), 'w')
    assert [run.folder.name for run in planned[:3]] == [
        'host_seed0', 'again_seed0', 'host_seed1',
    ]  # fmt: skip
    seeds = [run.options()[-1] for run in planned]
    assert len(set(seeds)) == 6 and seeds[1] == 'randomness.seed=3'
    # other options: another row, pairs have the same seeds
    other = again._replace(options=('x=2',))
    assert runs.plan_runs([host, other], (0, 1), 'w')


def test_inference_goes_without_render_heads(runs):
    from torch import nn

    model = nn.Module()
    model.body = nn.Linear(3, 2)
    assert runs.count_parameters(model) == dict(training=8, inference=8)
    model.render_heads = nn.ModuleList([nn.Linear(4, 1), nn.Linear(1, 1)])
    assert runs.count_parameters(model) == dict(training=15, inference=8)


def test_the_example_of_the_documents(read, tool):
    """Can be read, and its configs and options exist."""
    text = (ROOT / 'docs' / 'bench.md').read_text()
    rows = read(text.partition('```python\n')[2].partition('```')[0])
    assert {row.baseline for row in rows} == {None, 'host'}
    configs = ROOT / 'occupancy_configs'
    for row in rows:
        path = configs.joinpath(*Path(row.config).parts[-2:])
        cfg = load_config(path, tool.parse_options(row.options))
        if row.name == 'host-long':
            # the positive control: twice the steps
            host = load_config(path)
            assert cfg.train_cfg.max_epochs == 2 * host.train_cfg.max_epochs
        if row.name == 'voxelsplat':
            assert cfg.model.render_heads[0].num_samples == 6000


def test_some_rows_come_with_their_baselines(tool):
    found = [
        tool.Row('host', 'a.py'),
        tool.Row('other', 'b.py', baseline='host'),
        tool.Row('mine', 'c.py', baseline='host'),
        tool.Row('more', 'd.py', baseline='mine'),
    ]
    chosen = tool.chosen_rows(found, ['more'])
    assert [row.name for row in chosen] == ['host', 'mine', 'more']
    chosen = tool.chosen_rows(found, ['other', 'host'])
    assert [row.name for row in chosen] == ['host', 'other']
    with pytest.raises(ConfigError, match="named 'moer'; did you mean 'more'"):
        tool.chosen_rows(found, ['moer'])
