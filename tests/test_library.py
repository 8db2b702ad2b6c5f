"""Rendering, ops and structures are a library without the mm packages."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: what the library may not bring in
HEAVY = """cv2 matplotlib mmcv mmdet mmdet3d mmengine nuscenes pandas PIL
pyquaternion scipy sklearn torchvision""".split()


def run(code):
    """What a new Python prints that knows the package alone."""
    head = f'import sys; sys.path.insert(0, {str(ROOT / "projects")!r})\n'
    done = subprocess.run(
        [sys.executable, '-c', head + code],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize('room', ['rendering', 'ops', 'structures'])
def test_the_library_imports_little(room):
    code = f"""
import torch
before = set(sys.modules)
import occsplat.{room}
new = {{name.partition('.')[0] for name in set(sys.modules) - before}}
print(sorted(new & set({HEAVY!r})))
"""
    assert run(code) == '[]'


def test_it_renders_without_the_mm_packages():
    code = f"""
import torch
for name in {HEAVY!r}:
    sys.modules[name] = None  # an ImportError for who asks
from occsplat.rendering import rasterize
means = torch.tensor([[0.0, 0.0, 5.0]], requires_grad=True)
K = torch.tensor([[[50.0, 0, 16], [0, 50.0, 12], [0, 0, 1]]])
out = rasterize(
    means, torch.ones(1, 3), torch.ones(1), torch.ones(1, 2),
    torch.eye(4)[None], K, 32, 24,
)
out.depth.sum().backward()
print(tuple(out.features.shape), bool(means.grad.abs().sum() > 0))
"""
    assert run(code) == '(1, 24, 32, 2) True'


def test_importing_the_package_registers_nothing():
    code = """
import occsplat
print(sorted(name for name in sys.modules if name.startswith('occsplat')))
"""
    assert run(code) == "['occsplat']"


def test_a_config_of_before_still_finds_its_types(tmp_path):
    from occsplat.engine import load_config

    path = tmp_path / 'c.py'
    host = ROOT / 'occupancy_configs/fbocc/fbocc-tiny_minitown.py'
    path.write_text(
        f"_base_ = ['{host}']\ncustom_imports = dict(imports=['occsplat'])\n"
    )
    assert load_config(path).model.type == 'OccDetector'
