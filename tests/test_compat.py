"""The shims: loud operators, versions."""

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from occsplat import compat
from occsplat.structures import MissingPackageError

ROOT = Path(__file__).parents[1]


def test_mmdet3d_is_importable_with_the_stub_in_place():
    import mmdet3d.models  # noqa: F401

    if compat.install_ops_stub():
        assert type(sys.modules['mmcv._ext']).__name__ == '_OpsStub'


def test_a_stubbed_operator_names_itself_and_the_cure(monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    monkeypatch.setattr(compat.importlib.util, 'find_spec', lambda name: None)
    assert compat.install_ops_stub()
    with pytest.raises(compat.MissingOpError) as caught:
        sys.modules['mmcv._ext'].ball_query_forward(1, radius=2)
    assert 'ball_query_forward' in str(caught.value)
    assert 'mmcv==2.1.0' in str(caught.value)
    # a second call neither replaces the stub nor complains
    stub = sys.modules['mmcv._ext']
    assert compat.install_ops_stub()
    assert sys.modules['mmcv._ext'] is stub


def test_a_compiled_mmcv_is_left_alone(monkeypatch):
    compiled = type(sys)('mmcv._ext')
    monkeypatch.setitem(sys.modules, 'mmcv._ext', compiled)
    assert not compat.install_ops_stub()
    assert sys.modules['mmcv._ext'] is compiled
    # installed, not yet imported
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(
        compat.importlib.util, 'find_spec', lambda name: 'a spec'
    )
    assert not compat.install_ops_stub()
    assert 'mmcv._ext' not in sys.modules


RESNET = dict(
    type='mmdet.ResNet', base_channels=8, stem_channels=8, num_stages=2
)
RESNET.update(strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))
SWIN = dict(embed_dims=8, depths=(2, 2), num_heads=(1, 2), strides=(4, 2))
SWIN.update(window_size=4, mlp_ratio=2, drop_path_rate=0.4)


@pytest.mark.parametrize(
    'backbone',
    [
        dict(RESNET, depth=18),
        dict(RESNET, depth=50),
        dict(SWIN, type='mmdet.SwinTransformer', out_indices=(0, 1)),
        dict(SWIN, type='StereoSwin', out_indices=(0, 1)),
    ],
    ids=lambda b: f'{b["type"]}{b.get("depth", "")}',
)
def test_recomputing_backbones_warn_of_nothing(backbone):
    from mmdet3d.registry import MODELS

    import occsplat.plugin  # noqa: F401

    results = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = MODELS.build(dict(backbone, with_cp=with_cp))
        model.train()
        images = torch.randn(2, 3, 32, 32, requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            outputs = model(images)
            sum((o * o).sum() for o in outputs).backward()
        gradients = [p.grad for p in model.parameters()]
        results.append([*outputs, images.grad, *gradients])
    plain, recomputed = results
    for a, b in zip(plain, recomputed, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_checkpoints_of_the_mm_packages_do_not_reenter():
    """Every module that holds torch's function, whatever it calls it."""
    import mmcv.cnn.resnet
    from mmdet.models.necks import hrfpn
    from mmdet.models.utils import vlfuse_helper

    import occsplat.plugin

    functions = [
        mmcv.cnn.resnet.cp.checkpoint,
        hrfpn.checkpoint,
        vlfuse_helper.checkpoint.checkpoint,
    ]
    occsplat.compat.recompute_without_reentry()  # a second time is harmless
    functions.append(mmcv.cnn.resnet.cp.checkpoint)
    x = torch.ones(2, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for function in functions:
            function(torch.exp, x).sum().backward()
    # torch's own is left alone, for everybody else
    with pytest.warns(UserWarning, match='use_reentrant'):
        torch.utils.checkpoint.checkpoint(torch.exp, x)


def test_the_text_of_a_config_is_formatted_once(monkeypatch):
    """yapf takes a second for it, and every checkpoint has it."""
    from mmengine.config import Config, config
    from yapf.yapflib.yapf_api import FormatCode

    calls = []

    def watched(text, **options):
        calls.append(text)
        return FormatCode(text, **options)

    monkeypatch.setattr(config, 'FormatCode', watched)
    plain = Config(dict(a=dict(b=[1, 2]))).pretty_text
    compat.format_configs_once()
    compat.format_configs_once()  # a second time is harmless
    cfg = Config(dict(a=dict(b=[1, 2])))
    assert cfg.pretty_text == cfg.copy().pretty_text == plain
    cfg.a.b = 3
    assert 'b=3' in cfg.pretty_text
    # one of them before
    assert len(calls) == 3


def test_the_version_report_names_what_a_bug_report_needs():
    report = compat.version_report()
    for name in ('python', 'torch', 'mmengine', 'mmdet3d', 'numpy', 'GPU'):
        assert any(line.startswith(f'{name} ') for line in report.split('\n'))
    assert f'torch {torch.__version__.split("+")[0]}' in report


def test_compat_needs_no_mmdet3d():
    # it runs before mmdet3d can be imported
    code = (
        'import importlib.util, sys\n'
        f'path = {str(ROOT / "projects/occsplat/compat.py")!r}\n'
        'spec = importlib.util.spec_from_file_location("compat", path)\n'
        'spec.loader.exec_module(importlib.util.module_from_spec(spec))\n'
        'sys.exit("mmdet3d" in sys.modules or "mmdet" in sys.modules)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.fixture
def no_numba(monkeypatch):
    """numba is forgotten; whatever takes its place goes afterwards."""
    for name in list(sys.modules):
        if name.split('.')[0] == 'numba':
            monkeypatch.delitem(sys.modules, name)
    yield monkeypatch
    for name in list(sys.modules):
        if name.split('.')[0] == 'numba':
            del sys.modules[name]


def test_numba_is_left_alone_where_it_fits(no_numba):
    if not compat._numba_fits():
        pytest.skip('there is no numba')
    assert not compat.install_numba_stub()
    assert 'numba' not in sys.modules


@pytest.mark.parametrize('why', ['missing', 'hidden', 'refuses numpy'])
def test_numba_is_stubbed_where_it_does_not_fit(no_numba, why):
    if why == 'missing':
        no_numba.setattr(compat.importlib.util, 'find_spec', lambda name: None)
    elif why == 'hidden':
        no_numba.setitem(sys.modules, 'numba', None)
    else:
        no_numba.setattr(np, '__version__', '99.0')
    assert compat.install_numba_stub()
    stub = sys.modules['numba']
    assert compat.install_numba_stub() and sys.modules['numba'] is stub
    # as mmdet3d uses it
    from numba import cuda
    from numba.core.errors import NumbaPerformanceWarning

    assert issubclass(NumbaPerformanceWarning, Warning)

    def plus(a, b):
        return a + b

    for compiled in (
        stub.jit(plus),
        stub.njit(plus),
        stub.jit(nopython=True)(plus),
        cuda.jit(device=True, inline=True)(plus),
    ):
        with pytest.raises(ImportError, match='plus needs numba'):
            compiled(1, 2)


def test_kernels_do_not_take_the_stub_for_numba(no_numba):
    no_numba.setattr(compat.importlib.util, 'find_spec', lambda name: None)
    compat.install_numba_stub()
    no_numba.delitem(sys.modules, 'occsplat.kernels', raising=False)
    with pytest.raises(MissingPackageError, match='need numba'):
        importlib.import_module('occsplat.kernels')
