"""The shims: loud operators, safe resuming, versions."""

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from occsplat import compat

ROOT = Path(__file__).parents[1]


class MakeFolder:
    """Unpickled by an unsafe loader, makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class ReadAttribute:
    """Unpickled, reads an attribute of something."""

    def __init__(self, owner, name):
        self.args = owner, name

    def __reduce__(self):
        return getattr, self.args


def hub_state():
    """What the message hub of a run holds."""
    loss = HistoryBuffer()
    for value in (1.0, 2.0, np.float64(3.0)):
        loss.update(value)
    return dict(
        log_scalars={'train/loss': loss},
        runtime_info=dict(best_score=np.float64(0.5), iter=np.int64(3)),
    )


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


def test_a_message_hub_survives_the_safe_loader(tmp_path):
    torch.save(hub_state(), tmp_path / 'hub.pth')
    compat.allow_own_checkpoints()
    state = torch.load(tmp_path / 'hub.pth', weights_only=True)
    loss = state['log_scalars']['train/loss']
    assert loss.current() == 3.0
    assert loss.statistics('mean') == 2.0
    assert state['runtime_info'] == dict(best_score=0.5, iter=3)


def test_without_the_shim_the_safe_loader_refuses(tmp_path):
    # when this fails, the shim can go
    torch.save(hub_state(), tmp_path / 'hub.pth')
    admitted = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with pytest.raises(pickle.UnpicklingError, match='Unsupported'):
            torch.load(tmp_path / 'hub.pth', weights_only=True)
    finally:
        torch.serialization.add_safe_globals(admitted)


def test_the_safe_loader_stays_safe(tmp_path):
    compat.allow_own_checkpoints()
    torch.save(MakeFolder(tmp_path / 'made'), tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError, match='mkdir'):
        torch.load(tmp_path / 'evil.pth', weights_only=True)
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize(
    'owner, name', [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile')]
)
def test_getattr_reads_nothing_but_history_methods(tmp_path, owner, name):
    compat.allow_own_checkpoints()
    torch.save(ReadAttribute(owner, name), tmp_path / 'evil.pth')
    with pytest.raises(
        pickle.UnpicklingError, match='refused to read attribute'
    ):
        torch.load(tmp_path / 'evil.pth', weights_only=True)


class DtypeOf:
    """Unpickled, a dtype with the flags of the file."""

    def __init__(self, kind, flags):
        self.kind, self.flags = kind, flags

    def __reduce__(self):
        state = (3, '<', None, None, None, -1, -1, self.flags)
        return np.dtype, (self.kind, False, True), state


def test_numbers_are_never_addresses(tmp_path):
    compat.allow_own_checkpoints()
    torch.save(DtypeOf('f8', 63), tmp_path / 'evil.pth')
    found = torch.load(tmp_path / 'evil.pth', weights_only=True)
    assert found is np.dtype('f8') and found.flags == 0
    torch.save(DtypeOf('O8', 0), tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError, match='O8'):
        torch.load(tmp_path / 'evil.pth', weights_only=True)


def test_numpy_of_either_major_version_is_admitted():
    # numpy 2 renamed the module in which they say they live
    compat.allow_own_checkpoints()
    names = {
        f'{function.__module__}.{function.__qualname__}'
        for function in torch.serialization.get_safe_globals()
    }
    for package in ('numpy.core', 'numpy._core'):
        assert f'{package}.multiarray.scalar' in names
        assert f'{package}.multiarray._reconstruct' in names


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

    import occsplat  # noqa: F401

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

    import occsplat

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
