"""What the documents name exists, and their commands are understood."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from packaging.requirements import Requirement
from PIL import Image

from occsplat.structures import LabelSpec

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *ROOT.glob('*.md'),
        *ROOT.glob('docs/**/*.md'),
        *ROOT.glob('occupancy_configs/**/README.md'),
    ]
)
PICTURES = sorted(ROOT.glob('docs/images/*.png'))
COMMAND = re.compile(r'\b(?:bash|python3?) (tools/[\w.-]+\.\w+)([^`#\n]*)')
# positional arguments that these scripts take before those of the tool
LAUNCHERS = {'dist_train.sh': ('train', 2), 'dist_test.sh': ('test', 3)}


def commands():
    """(document, script, arguments) of every command in the documents."""
    for document in DOCUMENTS:
        for match in COMMAND.finditer(document.read_text()):
            name = str(document.relative_to(ROOT))
            yield name, match[1], shlex.split(match[2])


@pytest.fixture
def tool(monkeypatch):
    """A function from a tool's name to its module."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    return importlib.import_module


def understood(module, arguments, monkeypatch):
    """Parse the arguments; SystemExit if the tool refuses them."""
    if hasattr(module, 'make_parser'):
        module.make_parser().parse_args(arguments)
        return
    # a tool with subcommands, each of which runs a function
    for name in vars(module):
        if name.startswith('run_'):
            monkeypatch.setattr(module, name, lambda args: None)
    monkeypatch.setattr(sys, 'argv', [module.__name__, *arguments])
    module.main()


def test_there_are_commands_to_check():
    named = {script for _, script, _ in commands()}
    assert {'tools/quickstart.sh', 'tools/run_tests.sh'} <= named


@pytest.mark.parametrize('document, script, arguments', list(commands()))
def test_commands_are_understood(
    document, script, arguments, tool, monkeypatch
):
    path = ROOT / script
    assert path.is_file(), f'{document} names {script}'
    if path.name in LAUNCHERS:
        name, positional = LAUNCHERS[path.name]
        assert len(arguments) >= positional
        assert arguments[positional - 1].isdigit(), 'number of GPUs'
        arguments.pop(positional - 1)
        understood(tool(name), arguments, monkeypatch)
    elif path.suffix == '.py':
        understood(tool(path.stem), arguments, monkeypatch)
    else:
        text = path.read_text()
        for flag in arguments:
            assert not flag.startswith('--') or flag in text


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda p: str(p.name))
def test_named_files_exist(document):
    text = document.read_text()
    named = re.findall(
        r'\b((?:occupancy_configs|projects|tools|tests|docs)/[\w./-]+\.\w+)',
        text,
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    for link in re.findall(r'\]\(([^)#\s]+)', text):
        if '://' not in link and not (document.parent / link).exists():
            missing.append(link)
    assert not missing


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda p: str(p.name))
def test_named_checkpoints_are_written(document):
    named = re.findall(
        r'work_dirs/([\w.-]+)/epoch_(\d+)\.pth', document.read_text()
    )
    for stem, epoch in named:
        (path,) = ROOT.glob(f'occupancy_configs/*/{stem}.py')
        # the last one: earlier ones are deleted as training goes on
        cfg = Config.fromfile(path, import_custom_modules=False)
        assert int(epoch) == cfg.train_cfg.max_epochs, path


@pytest.mark.parametrize('path', PICTURES, ids=lambda path: path.name)
def test_pictures_show_the_colours_of_the_label_set(path):
    """256 colours for a picture: bus, motorcycle and terrain became one."""
    spec = LabelSpec.named('openocc')
    with Image.open(path) as image:
        assert image.mode == 'RGB'
        # the legend is at the foot
        foot = np.array(image)[-100:]
    for number in spec.occupied:
        swatch = (foot == spec.palette[number]).all(axis=-1)
        assert swatch.sum() >= 19 * 19, spec.classes[number]


def test_every_picture_is_shown_and_explained():
    text = ''.join(document.read_text() for document in DOCUMENTS)
    recipe = (ROOT / 'docs/images/README.md').read_text()
    for path in PICTURES:
        assert f'images/{path.name})' in text
        assert f'docs/images/{path.name}\n' in recipe


BLOCK = re.compile(r'^ *```bash\n(.*?)^ *```', re.MULTILINE | re.DOTALL)
NEEDS_ENVIRONMENT = re.compile(r'^(python3? tools/|pip |pytest )')


def test_the_readme_activates_before_its_first_python():
    text = (ROOT / 'README.md').read_text()
    activated = text.index('source .venv/bin/activate')
    assert activated < re.search(r'^python', text, re.MULTILINE).start()


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda p: str(p.name))
def test_what_installs_also_activates(document):
    for block in BLOCK.findall(document.read_text()):
        inactive = False
        for line in map(str.strip, block.splitlines()):
            if line.startswith(('bash tools/install', 'bash tools/quick')):
                inactive = 'activate' not in block.partition(line)[0]
            elif 'bin/activate' in line:
                inactive = False
            elif NEEDS_ENVIRONMENT.match(line):
                assert not inactive, f'{line}: nothing is active yet'


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda p: str(p.name))
def test_named_checkpoints_are_trained_before(document):
    """By a command of the same document."""
    text = document.read_text()
    trained = r'(?:tools/dist_train\.sh|tools/train\.py) \S*/{}\.py'
    for match in re.finditer(r'work_dirs/([\w.-]+)/epoch_\d+\.pth', text):
        before = text[: match.start()]
        assert re.search(trained.format(re.escape(match[1])), before), match


def test_a_build_of_torch_without_cuda_is_kept():
    """tools/install.sh asks for versions that PyTorch's CPU wheels have."""
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    pinned = [Requirement(x) for x in lines if re.match(r'torch\w*==', x)]
    assert {r.name for r in pinned} == {'torch', 'torchvision'}
    for requirement in pinned:
        (version,) = (s.version for s in requirement.specifier)
        assert requirement.specifier.contains(f'{version}+cpu')
        text = (ROOT / 'docs' / 'install.md').read_text()
        assert f'{requirement.name}=={version}' in text
