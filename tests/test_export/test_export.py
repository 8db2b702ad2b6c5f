"""Graphs of small networks, beside the networks."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from occsplat.engine import build_split, init_model, load_config
from occsplat.export import (
    ExportedNetwork,
    ExportError,
    check_packages,
    export,
    operators,
)
from occsplat.export.graph import traced, write_onnx, write_torch
from occsplat.models.backbones.modulated_deform_conv import (
    ModulatedDeformConv,
)
from occsplat.structures import MissingPackageError

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / 'tests/small_fbocc_config.py'
HOSTS = ROOT / 'occupancy_configs'


@pytest.fixture
def needs_onnx():
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason="needs 'occsplat[export]'")


@pytest.fixture
def prepared(minitown_infos):
    """A function from a config to its network and packed frames."""

    def prepare(config, seed=0):
        root = {'test_dataloader.dataset.data_root': str(minitown_infos)}
        cfg = load_config(config, root)
        dataset = build_split(cfg, 'test')
        torch.manual_seed(seed)
        return init_model(cfg), [dataset[i] for i in range(3)]

    return prepare


def network_of(detector, frames, fixed, past):
    rig = frames[0]['data_samples'].rig
    return ExportedNetwork(detector, rig, fixed, past).eval()


def test_onnx_with_cameras_and_past_as_inputs(prepared, tmp_path, needs_onnx):
    """All that FB-Occ has: both projections and three frames of a drive."""
    detector, frames = prepared(SMALL)
    network = network_of(detector, frames, fixed=False, past=True)
    path = tmp_path / 'a.onnx'
    found = export(network, detector, frames, 'onnx', path)
    assert len({one.token for one in found}) == 3
    assert all(0 < one.logits < 1e-5 and not one.wrong for one in found)
    assert all(one.flow < 1e-4 and one.moved == 0 for one in found)
    assert network.output_names == ['logits', 'occ', 'flow', 'next_history']
    counts = operators(path)
    assert counts['GridSample'] and counts['ScatterND']
    assert 'NonZero' not in counts


def test_onnx_of_a_transformer_with_fixed_cameras(
    prepared, tmp_path, needs_onnx
):
    detector, frames = prepared(
        HOSTS / 'surroundocc/surroundocc-tiny_minitown.py'
    )
    network = network_of(detector, frames, fixed=True, past=False)
    path = tmp_path / 'a.onnx'
    (found,) = export(network, detector, frames[:1], 'onnx', path)
    assert found.logits < 1e-5 and not found.wrong
    assert network.input_names == ['imgs']
    assert 'NonZero' not in operators(path)


def test_deformable_convolution(tmp_path, needs_onnx):
    torch.manual_seed(0)
    layer = ModulatedDeformConv(4, 6, 3, padding=1, bias=False)
    nn.init.normal_(layer.conv_offset.weight, std=0.3)
    network = layer.eval()
    network.input_names, network.output_names = ['x'], ['y']
    image = torch.rand(1, 4, 9, 12)
    program = traced(network, [image])
    with write_onnx(program, network, tmp_path / 'a.onnx') as run:
        (found,) = run([image])
    with torch.no_grad():
        torch.testing.assert_close(found, layer(image), rtol=1e-4, atol=1e-5)
    assert operators(tmp_path / 'a.onnx')['DeformConv'] == 1


def test_the_tool_writes_what_torch_can_load(
    minitown_infos, tmp_path, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    tool = importlib.import_module('export_model')
    root = f'test_dataloader.dataset.data_root={minitown_infos}'
    arguments = [str(SMALL), '--format', 'torch', '--frames', '2']
    arguments += ['--cfg-options', root, '--out']
    with pytest.raises(SystemExit, match=r'ends with \.pt2'):
        tool.main([*arguments, str(tmp_path / 'a.onnx')])
    path = tool.main([*arguments, str(tmp_path / 'a.pt2')])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'no checkpoint: weights as they are drawn'
    assert len(lines) == 6 and 'logits differ by' in lines[1]
    assert lines[4:] == ['in: imgs', 'out: logits, occ, flow']
    program = torch.export.load(path)
    images = torch.zeros(1, 6, 3, 96, 256, dtype=torch.uint8)
    logits, occ, flow = program.module()(images)
    assert logits.shape[1:] == occ.shape == flow.shape[:3]
    assert torch.equal(logits.argmax(0), occ.long())


def test_another_network_is_noticed(prepared, tmp_path):
    detector, frames = prepared(SMALL)
    other, _ = prepared(SMALL, seed=1)
    network = network_of(other, frames, fixed=True, past=False)
    path = tmp_path / 'a.pt2'
    with pytest.raises(ExportError, match='is not the network'):
        export(network, detector, frames, 'torch', path)
    assert not list(tmp_path.iterdir())


def test_cameras_that_move_cannot_be_fixed(prepared):
    detector, frames = prepared(HOSTS / 'bevstereo/bevstereo-tiny_minitown.py')
    with pytest.raises(ExportError, match='StereoLifter reads 3 frames'):
        network_of(detector, frames, fixed=True, past=False)
    with pytest.raises(ExportError, match='no history'):
        network_of(detector, frames, fixed=False, past=True)


class Inner(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x)


class Counting(nn.Module):
    def forward(self, x):
        return x[: int(x.sum())]


class Outer(nn.Module):
    input_names, output_names = ['x'], ['y']

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return (self.inner(x) + 1,)


def test_an_operator_without_counterpart_is_named(tmp_path, needs_onnx):
    network = Outer(Inner()).eval()
    program = traced(network, [torch.eye(3)])
    match = r'inner \(Inner\) uses aten[.:]+linalg_inv'
    with pytest.raises(ExportError, match=match):
        with write_onnx(program, network, tmp_path / 'a.onnx'):
            pass
    with write_torch(program, network, tmp_path / 'a.pt2') as run:
        assert torch.equal(run([torch.eye(3)])[0], torch.eye(3) + 1)


def test_a_shape_that_depends_on_numbers_is_named():
    with pytest.raises(ExportError, match=r'inner \(Counting\) has no graph'):
        traced(Outer(Counting()).eval(), [torch.ones(3)])


def test_a_missing_package_is_one_line(monkeypatch):
    graph = importlib.import_module('occsplat.export.graph')

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(
        graph, 'importlib', SimpleNamespace(import_module=missing)
    )
    check_packages('torch')
    with pytest.raises(MissingPackageError, match=r'occsplat\[export\]'):
        check_packages('onnx')
