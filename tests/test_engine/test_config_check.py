"""A typo in a config is found before anything is built, and named."""

import re

import pytest
from mmdet3d.registry import MODELS
from mmengine.config import Config

from occsplat.engine import (
    ConfigError,
    OccRunner,
    build_errors,
    check_config,
    load_config,
)

TINY = 'occupancy_configs/voxelsplat/voxelsplat_fbocc-tiny_minitown.py'


@pytest.fixture
def repo(pytestconfig):
    return pytestconfig.rootpath


@pytest.fixture
def cfg(repo):
    return load_config(repo / TINY)


@pytest.fixture
def published(repo):
    """FB-Occ with all its parts, which the tiny one has not."""
    return load_config(repo / 'tests/small_fbocc_config.py')


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


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('randomness.seed', 'x', 'an integer of at least 0'),
        ('randomness.seed', -1, 'an integer of at least 0'),
        ('train_cfg.max_epochs', 2.5, 'an integer of at least 1'),
        ('train_cfg.val_interval', 0, 'an integer of at least 1'),
        ('train_dataloader.sampler', None, 'a dict'),
        ('train_dataloader.batch_size', 0, 'an integer of at least 1'),
        ('test_dataloader.num_workers', -1, 'an integer of at least 0'),
        ('optim_wrapper.optimizer.lr', float('nan'), 'a number of at least 0'),
        ('default_hooks.checkpoint.interval', 'x', 'an integer'),
        ('custom_hooks', 3, 'a list of dicts or None'),
        ('log_level', 'LOUD', "one of 'CRITICAL'"),
        ('resume', 'x', 'True or False'),
        ('load_from', 3, 'a text or None'),
    ],
)
def test_what_the_runner_reads_is_checked(cfg, key, value, expected):
    # mmengine looks late or not at all: a traceback, or a run without history
    cfg.merge_from_dict({key: value})
    with pytest.raises(ConfigError, match=f'{key} must be {expected}'):
        check_config(cfg)


def test_settings_that_contradict_are_one_line(cfg, tmp_path):
    cfg.work_dir = str(tmp_path)
    cfg.optim_wrapper = None
    with pytest.raises(ConfigError, match='optim_wrapper should be'):
        OccRunner.from_cfg(cfg)


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


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('model.lifter.depth_bins.stat', 1, "DepthBins .*'start'"),
        ('model.lifter.depth_bins.step', 7, 'a step that divides'),
        ('model.lifter.backward.num_anchor', 1, "Backward.*'num_anchors'"),
        ('model.lifter.grid.shap', 1, "VoxelGrid .*'shape'"),
        ('model.lifter.grid.shape', (0, 1, 2), 'shape must be'),
        ('model.history.grid.range', (1, 2), 'expects range='),
        ('model.lifter.norm_cfg.num_group', 3, "GN .*'num_groups'"),
        ('env_cfg.cudnn_bench', 1, 'cudnn_benchmark'),
        ('env_cfg.mp_cfg.start', 1, 'mp_start_method'),
        ('randomness.sed', 1, "'seed'"),
        ('auto_scale_lr.base', 1, 'base_batch_size'),
        ('train_cfg.max_epoch', 2, "'max_epochs'"),
        ('optim_wrapper.clip_grad.max_nrm', 2, "'max_norm'"),
        ('log_processor.windw', 1, "'window_size'"),
    ],
)
def test_dicts_without_a_type_are_checked_by_their_reader(
    published, key, value, expected
):
    published.merge_from_dict({key: value})
    path = key if 'has' in expected else key.rpartition('.')[0]
    with pytest.raises(ConfigError, match=f'{path}.*{expected}'):
        check_config(published)


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        (
            'model.occ_head.label_spec',
            'surroundocc',
            "model.occ_head.label_spec is 'surroundocc', but "
            "labels.label_spec is 'openocc'",
        ),
        ('model.render_heads.0.label_spec', 'occ3d', 'render_heads.0.'),
        ('val_evaluator.1.label_spec', 'occ3d', 'val_evaluator.1.'),
        (
            'train_dataloader.dataset.label_spec',
            'occ3d',
            'train_dataloader.dataset.label_spec',
        ),
        (
            'train_dataloader.dataset.pipeline.1.label_spec',
            'occ3d',
            r"pipeline.1.\.label_spec is 'occ3d', but",
        ),
        ('test_evaluator.2.grid', None, r'test_evaluator.2.\.grid is'),
        (
            'model.lifter.grid.range',
            (-50, -50, -5, 50, 50, 3),
            'model.lifter.grid covers',
        ),
        ('model.occ_head.upsample', 4, r'upsample=4 makes \(400, 400, 32\)'),
        ('model.occ_head.label_spec', 'mine', "unknown label spec 'mine'"),
        ('labels.label_spec', 'mine', "labels: unknown label spec 'mine'"),
        ('labels.grids', None, "labels.grids.*did you mean 'grid'"),
        ('labels.grid.shape', (100, 100), 'labels: '),
        ('labels.grid.shape', (50, 50, 4), r'but labels.grid is \(50, 50'),
    ],
)
def test_parts_that_speak_of_other_labels_are_refused(
    cfg, key, value, expected
):
    cfg.merge_from_dict({key: value})
    with pytest.raises(ConfigError, match=expected):
        check_config(cfg)


def test_labels_are_said_once(write_config):
    """Parts take what ``labels`` says, but what they say themselves."""
    cfg = write_config("labels = dict(label_spec='occ3d')\n")
    assert cfg.model.occ_head.label_spec == 'occ3d'
    assert 'grid' not in cfg.val_evaluator[0]  # the label set's own
    grid = 'dict(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8))'
    cfg = write_config(f"labels = dict(label_spec='occ3d', grid={grid})\n")
    assert cfg.val_evaluator[0].grid.shape == (100, 100, 8)
    assert 'grid' not in cfg.model.occ_head  # which takes none
    with pytest.raises(ConfigError, match='occ_head: label_spec is missing'):
        write_config('')


@pytest.fixture
def write_config(tmp_path):
    """A function from lines of a config to what it is with a head."""

    def write(lines):
        path = tmp_path / 'c.py'
        path.write_text(
            f"{lines}model = dict(type='OccDetector', img_backbone=dict("
            "type='mmdet.ResNet', depth=18), lifter=dict(type='FBOccLifter'),"
            "occ_head=dict(type='OccHead', in_channels=4))\n"
            "val_evaluator = [dict(type='RayIoUMetric')]\n"
        )
        return load_config(path)

    return write


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        (
            'model.render_heads.0.num_samples',
            'many',
            r'model.render_heads.0.: VoxelSplatHead: num_samples must be',
        ),
        ('model.img_backbone.depth', 17, 'model.img_backbone: KeyError'),
        ('model.occ_head.type', 'FPN3D', 'model.occ_head'),
        ('model.lifter', 5, 'model: '),
    ],
)
def test_what_cannot_be_built_is_named_by_its_path(cfg, key, value, expected):
    cfg.merge_from_dict({key: value})
    with pytest.raises(ConfigError, match=expected) as caught:
        with build_errors(cfg):
            MODELS.build(cfg.model)
    assert '\n' not in str(caught.value)


def test_a_part_deep_inside_another_is_named(published):
    neck = published.model.volume_encoder.neck
    neck.in_channel = neck.pop('in_channels')
    expected = "model.volume_encoder.neck.in_channel.*FPN3D.*'in_channels'"
    with pytest.raises(ConfigError, match=expected):
        check_config(published)
    neck.pop('type')
    with pytest.raises(ConfigError, match='neck: expected a dict') as caught:
        with build_errors(published):
            MODELS.build(published.model)
    assert '\n' not in str(caught.value)


def test_other_errors_keep_their_kind(cfg):
    with pytest.raises(ZeroDivisionError):
        with build_errors(cfg):
            raise ZeroDivisionError


@pytest.mark.parametrize(
    'part, expected',
    [
        (
            dict(type='CameraViews', strategy='elevated', height=(2, 2)),
            "no argument 'height'; write strategy=dict(type='MoveCamera', "
            'height=...)',
        ),
        (
            dict(type='NeRFRenderHead', num_pixels=100),
            "no argument 'num_pixels'; write sampling=dict("
            "type='RarePixels', num_pixels=...)",
        ),
        (
            dict(type='VoxelSplatHead', move_seconds=1.0),
            "no argument 'move_seconds'; write motion=dict("
            "type='LabelMotion', move_seconds=...)",
        ),
    ],
)
def test_an_argument_that_moved_says_where_it_went(cfg, part, expected):
    cfg.model.render_heads = [part]
    with pytest.raises(ConfigError, match=re.escape(expected)):
        check_config(cfg)
