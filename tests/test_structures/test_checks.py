"""What annotations say is checked, for every class that configs name."""

import inspect
import math
from typing import Annotated, Literal, Mapping, Sequence, get_type_hints

import mmdet3d.registry
import pytest
from mmengine.registry import Registry

import occsplat.plugin  # noqa: F401  all classes
from occsplat.structures.checks import (
    Bounds,
    Count,
    Fraction,
    Positive,
    Range,
    check,
    check_order,
    checked,
)

#: types that stand in for values of every kind that annotations exclude
WRONG = ('x', -5, 0, 0.5, math.nan, math.inf, True, None, (), {}, [1, 'x'])


class Thing:
    """Takes one argument of each kind."""

    @checked
    def __init__(
        self,
        count: Count = 1,
        scale: Positive = 1.0,
        share: Fraction | None = None,
        frames: Sequence[int] = (0,),
        mode: Literal['a', 'b'] = 'a',
        weights: Mapping[str, float] | None = None,
        size: tuple[Count, Count] = (1, 1),
        ranges: Range = (0, 1),
        flag: bool = False,
        bound: Annotated[float, Bounds(least=0, infinite=True)] = 1.0,
        **others: int,
    ):
        self.others = others


def test_good_values_pass_unchanged():
    Thing(3, 2, 1, [0, -1], 'b', dict(car=1), [2, 3], (-1, -1), True, math.inf)
    assert Thing(other='anything').others == dict(other='anything')


@pytest.mark.parametrize(
    ('name', 'value', 'expected'),
    [
        ('count', 0, 'an integer of at least 1, got 0'),
        ('count', 'many', "an integer of at least 1, got 'many'"),
        ('count', True, 'an integer of at least 1, got True'),
        ('count', 1.5, 'an integer of at least 1, got 1.5'),
        ('scale', 0, 'a number above 0, got 0'),
        ('scale', math.nan, 'a number above 0, got nan'),
        ('scale', math.inf, 'a number above 0, got inf'),
        ('share', 1.5, 'of at least 0 and of at most 1 or None, got 1.5'),
        ('frames', 'ab', "a list of integers, got 'ab'"),
        ('frames', (0, 0.5), r'a list of integers, got \(0, 0.5\)'),
        ('mode', 'c', "one of 'a', 'b', got 'c'"),
        ('weights', dict(car='x'), 'a dict of numbers or None'),
        ('size', (1,), r'\(an integer of at least 1, an integer'),
        ('ranges', (2, 1), r'in ascending order, got \(2, 1\)'),
        ('flag', 1, 'True or False, got 1'),
        ('bound', -1, 'a number of at least 0, got -1'),
    ],
)
def test_a_wrong_value_names_class_argument_and_what_was_expected(
    name, value, expected
):
    with pytest.raises(
        ValueError, match=f'Thing: {name} must be .*{expected}'
    ):
        Thing(**{name: value})


def test_missing_and_unknown_arguments_are_told_by_python():
    with pytest.raises(TypeError, match='multiple values'):
        Thing(1, count=2)


def test_order():
    check_order(near=1, far=2)
    with pytest.raises(ValueError, match='near < far, got near=2, far=2'):
        check_order(near=2, far=2)


def registered():
    """Classes of ours that a config can name."""
    kinds = {
        kind
        for registry in vars(mmdet3d.registry).values()
        if isinstance(registry, Registry)
        for kind in registry.module_dict.values()
        if kind.__module__.startswith('occsplat.')
    }
    return sorted(kinds, key=lambda kind: kind.__name__)


def constructors(kind):
    """The checked ones of a class and its bases of ours."""
    for base in kind.__mro__:
        own = vars(base).get('__init__')
        if own and base.__module__.startswith('occsplat.'):
            yield own


#: take what mmengine hands them, or nothing
EXEMPT = {
    'LayerDecayOptimWrapperConstructor',
    'OccRunner',
    'PublicWeights',
    'ResumableTrainLoop',
}


@pytest.mark.parametrize('kind', registered(), ids=lambda k: k.__name__)
def test_every_argument_of_a_config_is_checked(kind):
    for function in constructors(kind):
        arguments = inspect.signature(function).parameters
        if len(arguments) == 1 or kind.__name__ in EXEMPT:
            continue
        assert hasattr(function, '__wrapped__'), f'{function} has no @checked'
        hints = get_type_hints(function, include_extras=True)
        for name in set(hints) - {'return', 'kwargs'}:
            refused = 0
            for value in WRONG:
                try:
                    check(name, value, hints[name])
                except ValueError:
                    refused += 1
            assert refused >= 3, f'{kind.__name__}: {name} takes anything'


def given(kind, argument, value):
    return pytest.param(
        kind, argument, value, id=f'{kind}-{argument}-{value!r}'
    )


@pytest.mark.parametrize(
    ('kind', 'argument', 'value'),
    [
        given('VoxelSplatHead', 'num_samples', -5),
        given('VoxelSplatHead', 'num_samples', 'many'),
        given('VoxelSplatHead', 'scale', 0),
        given('VoxelSplatHead', 'scale', math.nan),
        given('VoxelSplatHead', 'far', 0.01),
        given('VoxelSplatHead', 'backend', 'cuda'),
        given('GaussRenderHead', 'scale', 'x'),
        given('GaussRenderHead', 'scale', 0),
        given('GaussRenderHead', 'weight', -1),
        given('RarePixels', 'num_pixels', 0),
        given('GSRenderHead', 'variance_focus', 2),
        given('GSRenderHead', 'far', 1.0),
        given('NeRFRenderHead', 'step', 0),
        given('CameraViews', 'count', 2.5),
        given('MoveCamera', 'height', (3, 1)),
        given('CameraViews', 'camera_weights', (1, -1)),
        given('PlaneView', 'axis', 'w'),
        given('PinholeFromAbove', 'focal', 0),
        given('GaussianOccHead', 'max_offset', -1),
        given('GaussianOccHead', 'opacity_threshold', 1),
        given('OccHead', 'upsample', 0),
        given('OccHead', 'loss_weights', dict(focal='x')),
        given('FBOccLifter', 'mid_channels', 0),
        given('StereoLifter', 'cost_strides', (0, 2)),
        given('StreamingHistory', 'num_frames', 0),
        given('ResNet3D', 'channels', (0, 1, 2)),
        given('OccDataPreprocessor', 'std', (1, 0, 1)),
        given('ImageAug', 'size', (0, 96)),
        given('ImageAug', 'rotate', math.nan),
        given('VolumeAug', 'scale', (1.1, 0.9)),
        given('VolumeAug', 'flip_x', 2),
        given('LidarDepth', 'max_depth', 0.5),
        given('RenderViews', 'scale', 0),
        given('RenderViews', 'frames', (0, 'x')),
        given('LoadPixelLabels', 'max_depth', 0),
        given('SequenceSampler', 'batch_size', 'two'),
        given('NuScenesOccDataset', 'sequence_splits', 0),
        given('NuScenesOccDataset', 'indices', -1000),
        given('NuScenesOccDataset', 'indices', (-1,)),
        given('BoxMetric', 'iou_threshold', 0),
        given('ImageMetric', 'image_size', (0, 5)),
        given('ResumePointHook', 'interval', 0.5),
        given('WarmupSwitchHook', 'switch_iter', -1),
    ],
)
def test_values_out_of_range_are_refused_by_name(kind, argument, value):
    needed = dict(
        label_spec='occ3d',
        in_channels=8,
        channels=8,
        size=(256, 96),
        dataset=[],
        batch_size=1,
        data_root='nowhere',
        ann_file='none.pkl',
        interval=1,
        grid=dict(range=(-4, -4, -1, 4, 4, 1), shape=(4, 4, 2)),
    )
    cls = next(k for k in registered() if k.__name__ == kind)
    names = {
        name
        for function in constructors(cls)
        for name in inspect.signature(function).parameters
    }
    arguments = {k: v for k, v in needed.items() if k in names}
    with pytest.raises(ValueError, match=argument):
        cls(**{**arguments, argument: value})
