"""What needs no CPU kernel needs no numba."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = 'occupancy_configs/voxelsplat/voxelsplat_fbocc-tiny_minitown.py'
HIDE = """
import sys, warnings

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('numba', 'llvmlite'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Hidden())
"""


def run(code, *arguments):
    """A new process without numba: exit status, output, errors."""
    path = str(ROOT / 'projects')
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            f'{HIDE}\nsys.path.insert(0, {path!r})\n{code}',
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout, done.stderr


def test_numba_is_imported_when_a_kernel_is_needed():
    """And not before: where it is installed, too."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / 'projects')!r})
import occsplat.plugin, torch
import occsplat.visualization, occsplat.rendering, occsplat.ops
assert 'numba' not in sys.modules
occsplat.ops.run_lengths(torch.zeros(2, 2, 2, dtype=torch.long))
assert 'numba' in sys.modules
"""
    subprocess.run([sys.executable, '-c', code], check=True, timeout=600)


def test_rendering_and_models_without_numba():
    """Every module but the kernels; torch renders; a network learns."""
    code = f"""
import importlib, pathlib, torch
import occsplat.plugin
from occsplat.structures import MissingPackageError

package = pathlib.Path(occsplat.__file__).parent
kernels = set()
for path in sorted(package.rglob('*.py')):
    name = '.'.join(path.relative_to(package.parent).with_suffix('').parts)
    name = name.removesuffix('.__init__')
    if name == 'occsplat.rendering.simd':
        continue  # other kernels alone import it, after occsplat.kernels
    try:
        importlib.import_module(name)
    except MissingPackageError as error:
        assert 'numba' in str(error)
        kernels.add(name)
rooms = {{name for name in kernels if '.numba_' not in name}}
rooms = {{name.split('.')[1] for name in rooms}}
assert rooms == {{'kernels', 'minitown'}}, rooms

from occsplat.rendering import rasterize
means = torch.tensor([[0, 0, 5.0]], requires_grad=True)
camera = dict(
    viewmats=torch.eye(4)[None], width=16, height=16,
    Ks=torch.tensor([[[10.0, 0, 8], [0, 10, 8], [0, 0, 1]]]))
scene = means, torch.full((1, 3), 0.5), torch.ones(1), torch.ones(1, 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    out = [rasterize(*scene, **camera) for _ in range(2)]
assert len(caught) == 1 and 'numba' in str(caught[0].message)
expected = rasterize(*scene, **camera, backend='torch')
assert torch.equal(out[0].features, expected.features)
out[0].depth.sum().backward()
assert means.grad.abs().sum() > 0
try:
    rasterize(*scene, **camera, backend='numba')
except MissingPackageError as error:
    print(error)

from mmengine.registry import MODELS
from occsplat.engine import load_config
print(type(MODELS.build(load_config({CONFIG!r}).model)).__name__)
"""
    status, out, err = run(code)
    assert status == 0, err
    message, model = out.splitlines()
    assert 'need numba' in message and model == 'OccDetector'


def test_tools_say_it_in_one_line(tmp_path):
    script = str(ROOT / 'tools/create_data.py')
    code = f"""
import runpy
sys.argv = ['create_data.py', 'minitown', '--root', {str(tmp_path)!r}]
runpy.run_path({script!r}, run_name='__main__')
"""
    status, _, err = run(code)
    assert status == 1
    assert 'Traceback' not in err
    (line,) = [line for line in err.splitlines() if 'error' in line]
    assert 'numba' in line and 'pip install' in line


def test_kernels_are_imported_inside_functions():
    """Beside the kernels themselves, nobody imports one on top."""
    package = ROOT / 'projects' / 'occsplat'
    for path in package.rglob('*.py'):
        inside = path.relative_to(package)
        if path.stem.startswith('numba_') or inside.parts[0] == 'minitown':
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                names += [getattr(node, 'module', None) or '']
                kernels = [n for n in names if 'numba_' in n]
                assert not kernels, (inside, kernels)
