"""A typo in a config is found before anything is built, and named."""

import pytest
from mmengine.config import Config

from occsplat.engine import ConfigError, check_config, load_config

TINY = 'occupancy_configs/voxelsplat/voxelsplat_fbocc-tiny_minitown.py'


@pytest.fixture
def repo(pytestconfig):
    return pytestconfig.rootpath


@pytest.fixture
def cfg(repo):
    return Config.fromfile(repo / TINY)


@pytest.mark.parametrize('folder', ['bevstereo', 'fbocc', 'voxelsplat'])
def test_own_configs_pass(repo, folder):
    paths = sorted((repo / 'occupancy_configs' / folder).glob('*.py'))
    assert paths
    for path in paths:
        load_config(path)


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        # a plain class
        (
            'model.lifter.depth_weigth',
            1.0,
            "model.lifter.depth_weigth.*FBOccLifter.*'depth_weight'",
        ),
        # deep inside another
        (
            'model.volume_encoder.neck.in_channel',
            [1],
            "model.volume_encoder.neck.in_channel.*FPN3D.*'in_channels'",
        ),
        # in a list
        (
            'val_evaluator.0.label_specs',
            'openocc',
            r"val_evaluator\[0\]\.label_specs.*RayIoUMetric.*'label_spec'",
        ),
        # ours, with **kwargs that go to mmengine's base class
        (
            'train_dataloader.dataset.sequence_split',
            2,
            "dataset.sequence_split.*NuScenesOccDataset.*'sequence_splits'",
        ),
        # a dict that is no type but has a known reader
        (
            'train_dataloader.num_worker',
            2,
            "train_dataloader.num_worker.*'num_workers'",
        ),
        # a scheduler, behind two classes that hand **kwargs on
        (
            'param_scheduler.1.eta_min_ration',
            0.1,
            r"param_scheduler\[1\]\.eta_min_ration.*'eta_min_ratio'",
        ),
        (
            'default_hooks.logger.intervals',
            5,
            "default_hooks.logger.intervals.*LoggerHook.*'interval'",
        ),
        (
            'model.type',
            'OccDetectr',
            "model.type: 'OccDetectr' is not registered.*'OccDetector'",
        ),
        (
            'model.img_backbone.type',
            'mmdet.ResNetX',
            "img_backbone.type: 'mmdet.ResNetX' is not registered",
        ),
    ],
)
def test_names_the_key_and_the_nearest_name(cfg, key, value, expected):
    cfg.merge_from_dict({key: value}, allow_list_keys=True)
    with pytest.raises(ConfigError, match=expected):
        check_config(cfg)


def test_names_the_file(cfg):
    cfg.merge_from_dict({'model.lifter.typo': 1})
    with pytest.raises(ConfigError, match=r'voxelsplat_fbocc-tiny.*\.py: '):
        check_config(cfg)


def test_open_ended_types_pass():
    """EMAHook hands unknown arguments to the averaged model."""
    check_config(
        Config(
            dict(
                model=dict(type='mmdet.ResNet', depth=18),
                custom_hooks=[
                    dict(
                        type='EMAHook',
                        ema_type='mmdet.ExpMomentumEMA',
                        momentum=0.001,
                        gamma=2000,
                        update_buffers=True,
                        priority='NORMAL',
                    )
                ],
            )
        )
    )


def test_a_type_of_another_scope_is_suggested_with_its_scope():
    """mmdet's average is not visible from the default scope mmdet3d."""
    hook = dict(type='EMAHook', ema_type='ExpMomentumEMA')
    cfg = Config(dict(custom_hooks=[hook]))
    with pytest.raises(ConfigError, match=r"\[0\]\.ema_type.*'mmdet\.ExpMom"):
        check_config(cfg)


def test_missing_config_lists_its_neighbours(repo):
    path = repo / 'occupancy_configs/fbocc/fbocc-tiny.py'
    with pytest.raises(ConfigError, match=r'fbocc-tiny_minitown\.py'):
        load_config(path)


def test_broken_config_is_named(tmp_path):
    (tmp_path / 'c.py').write_text('model = dict(')
    with pytest.raises(ConfigError, match=r'c\.py'):
        load_config(tmp_path / 'c.py')
    (tmp_path / 'd.py').write_text('x = 1')
    with pytest.raises(ConfigError, match='has no model'):
        load_config(tmp_path / 'd.py')
