"""Names of a config: those that something reads, and what options do."""

import argparse

import pytest

from occsplat.engine import ConfigError, add_cfg_options, load_config
from occsplat.engine.config_file import read_config

TINY = 'occupancy_configs/voxelsplat/voxelsplat_fbocc-tiny_minitown.py'


@pytest.fixture
def tiny(pytestconfig):
    return pytestconfig.rootpath / TINY


@pytest.fixture
def write(tmp_path):
    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f'{name}.py').write_text(text)
        return tmp_path / f'{name}.py'

    return write


def test_every_config_reads_its_names(pytestconfig):
    for path in pytestconfig.rootpath.glob('occupancy_configs/*/*.py'):
        # neither parts of configs nor rows of a comparison
        if path.parent.name not in ('_base_', 'bench'):
            read_config(path)


@pytest.mark.parametrize(
    ('key', 'nearest'),
    [
        ('train_dataloder.batch_size', 'train_dataloader'),
        ('optim_wraper.optimizer.lr', 'optim_wrapper'),
        ('trian_cfg.max_epochs', 'train_cfg'),
        ('modle.occ_head.channels', 'model'),
        ('data_rot', 'data_root'),
        ('default_hook.checkpoint.interval', 'default_hooks'),
        ('randomnes.seed', 'randomness'),
        ('max_epoch', 'max_epochs'),
    ],
)
def test_a_misspelt_option_is_refused_with_the_nearest_name(
    tiny, key, nearest
):
    with pytest.raises(ConfigError, match=f"{key}.*did you mean '{nearest}'"):
        load_config(tiny, {key: 1})


def test_a_misspelt_key_of_a_file_is_refused(tiny, write):
    path = write(c=f"_base_ = ['{tiny}']\noptim_wraper = dict(x=1)\n")
    with pytest.raises(ConfigError, match="c.py.*reads 'optim_wraper'.*_wrap"):
        load_config(path)


def test_variables_are_gone_once_they_are_used(tiny, tmp_path):
    cfg = load_config(tiny)
    assert not {'data_root', 'max_epochs', 'image_size', 'norm'} & set(cfg)
    # so that what a run writes to its work dir can be read again
    cfg.dump(tmp_path / 'dumped.py')
    again = load_config(tmp_path / 'dumped.py')
    assert again.to_dict() == cfg.to_dict()
    with pytest.raises(
        ConfigError,
        match='set .*train_dataloader.dataset.data_root, val_dataloader.dat',
    ):
        load_config(tmp_path / 'dumped.py', dict(data_root='elsewhere'))


def test_an_option_on_a_variable_reaches_all_that_is_made_of_it(tiny):
    cfg = load_config(
        tiny,
        {
            'data_root': 'data/my town/',
            'max_epochs': 7,
            'image_size': (128, 48),
            'norm.num_groups': 2,
        },
    )
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.data_root == 'data/my town/'
        (step,) = [s for s in dataset.pipeline if s.type == 'ImageAug']
        assert step['size'] == (128, 48)
    assert cfg.train_cfg.max_epochs == 7 == cfg.train_cfg.val_interval
    assert cfg.param_scheduler[1].T_max == 7 == cfg.param_scheduler[1].end
    assert cfg.model.volume_encoder.norm_cfg.num_groups == 2


def test_an_option_reaches_a_grid_in_the_other_files(tiny):
    other = dict(range=(-20, -20, -1, 20, 20, 5.4), shape=(50, 50, 4))
    shape = (5, 6, 7)
    cfg = read_config(tiny, {'labels.grid': other, 'volume_grid.shape': shape})
    assert cfg.labels.grid == other
    assert cfg.model.lifter.grid.shape == shape
    assert cfg.model.volume_encoder.height == 7


@pytest.mark.parametrize('name', ['label_spec', 'label_grid'])
def test_what_labels_were_named_before_is_told(tiny, write, name):
    new = dict(label_spec='labels.label_spec', label_grid='labels.grid')[name]
    with pytest.raises(ConfigError, match=f'{name}: nothing.*set {new} inst'):
        load_config(tiny, {name: None})
    for how in ('_base_.%s', '{{_base_.%s}}'):
        path = write(c=f"_base_ = ['{tiny}']\nresume = {how % name}\n")
        with pytest.raises(ConfigError, match=f'c.py.*{name} is {new}'):
            load_config(path)


@pytest.mark.parametrize(
    'how', ['x', '_base_.x', "_base_['x']", '{{_base_.x}}']
)
def test_every_way_to_read_a_variable_counts(write, how):
    base = 'x = 1\n' if how != 'x' else ''
    own = 'x = 1\n' if how == 'x' else ''
    text = f"_base_ = ['base.py']\n{own}model = dict(depth={how})\n"
    path = write(base=base, c=text)
    assert read_config(path, dict(x=5)).to_dict() == dict(model=dict(depth=5))


def test_configs_that_import_their_bases(write):
    path = write(
        base='x = 1\ny: int = 2\nmodel = dict(depth=x, width=y)\n',
        c='from mmengine.config import read_base\n'
        'with read_base():\n    from .base import *\n',
    )
    cfg = read_config(path, dict(x=5, y=6))
    assert cfg.to_dict() == dict(model=dict(depth=5, width=6))
    path.write_text(path.read_text() + 'modell = dict()\n')
    with pytest.raises(ConfigError, match="'modell'; did you mean 'model'"):
        read_config(path)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('a = 1\nmodel = dict(type=foo)', "line 2: NameError: name 'foo'"),
        ('model = dict(', r'line 1: SyntaxError: .*never closed'),
        ("model = dict()['x']", "line 1: KeyError: 'x'"),
        ('model = 1 / 0', 'line 1: ZeroDivisionError'),
        ("_base_ = ['gone.py']", r'its _base_ .*gone\.py does not exist'),
        ("_base_ = ['c.py']", r'its _base_ leads back to .*c\.py'),
        ('\0', 'SyntaxError: source code'),
        ('import torch\nwith 3: pass', '(ConfigParsing|Runtime)Error'),
    ],
)
@pytest.mark.parametrize('inherited', [False, True])
def test_a_file_that_does_not_run_is_named_with_its_line(
    write, text, expected, inherited
):
    path = write(c=text)
    if inherited:
        path = write(d="_base_ = ['c.py']")
    place = r'(c|d)\.py' if 'leads back' in expected else r'c\.py'
    with pytest.raises(ConfigError, match=f'{place}.*{expected}'):
        read_config(path)


@pytest.mark.parametrize(
    'options',
    [
        {'train_cfg.max_epochs.x': 1},
        {'model': 1, 'model.lifter.depth_weight': 2},
        {'val_evaluator.7.label_spec': 'occ3d'},
        {'image_size.0': 1},
        {'norm.x.y': 1},
    ],
)
def test_an_option_that_does_not_fit_is_one_line(tiny, options):
    with pytest.raises(ConfigError, match='--cfg-options') as caught:
        load_config(tiny, options)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'pair',
    ['a', '=1', '.a=1', 'a..b=1', 'a=[1,(2]', 'a=[dict(b=1,c=2)]'],
)
def test_what_is_no_option_is_refused(pair, capsys):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    with pytest.raises(SystemExit, match='2'):
        parser.parse_args(['--cfg-options', pair])
    error = capsys.readouterr().err
    assert '--cfg-options: ' in error and repr(pair) in error


def test_options_are_read_as_mmengine_reads_them_but_for_spaces():
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    pairs = ['a=1', 'b=x y', 'c=[1, 2]', 'd=(a,1.5)', 'e=None', 'f=u=v']
    pairs.append('g=data/town(2)')
    args = parser.parse_args(['--cfg-options', *pairs])
    assert args.cfg_options == dict(
        a=1,
        b='x y',
        c=[1, 2],
        d=('a', 1.5),
        e=None,
        f='u=v',
        g='data/town(2)',
    )
