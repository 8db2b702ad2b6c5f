"""tools/test.py --expect: was the published figure met?"""

import math

import pytest

from occsplat.engine import ConfigError


def test_shares_are_in_per_cent_and_speeds_are_not(tester):
    found = dict(mIoU=0.3922, mAVE=0.51, RayIoU_car=0.2)
    lines, met = tester.compare(found, [('mIoU', 39.1), ('mAVE', 0.5)], 0.3)
    assert met and lines[0] == 'mIoU 39.22, expected 39.1 +- 0.3: met'
    lines, met = tester.compare(found, [('RayIoU_car', 21), ('mIoU', 39)], 0.3)
    assert not met and [line.split()[-1] for line in lines] == [
        'MISSED', 'met',
    ]  # fmt: skip
    assert tester.compare(found, [], 0.3) == ([], True)


def test_not_a_number_is_never_met(tester):
    assert not tester.compare(dict(mIoU=math.nan), [('mIoU', 39.1)], 100.0)[1]


def test_unknown_metrics_and_values_are_named(tester, capsys):
    with pytest.raises(ConfigError, match='--expect IoUm: .*one of mIoU'):
        tester.compare(dict(mIoU=0.1), [('IoUm', 1.0)], 0.3)
    with pytest.raises(SystemExit):
        tester.make_parser().parse_args(['c', 'p', '--expect', 'mIoU'])
    assert "such as mIoU=39.1, got 'mIoU'" in capsys.readouterr().err
