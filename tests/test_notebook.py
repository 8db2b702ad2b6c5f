"""The notebook: what it holds, and that its code still gives that."""

import base64
import copy
import io
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / 'docs/minitown.ipynb'
#: bytes of a file that is read in a browser and kept in git
MOST = 2_000_000
NUMBER = re.compile(r'-?\d+\.?\d*')


@pytest.fixture(scope='module')
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == 'code']


def printed(cell):
    """What a cell says, but for the names of its pictures."""
    parts = []
    for output in cell.outputs:
        if output.output_type == 'stream' and output.name == 'stdout':
            parts.append(output.text)
        elif 'image/png' not in output.get('data', {}):
            parts.append(output.get('data', {}).get('text/plain', ''))
    return ''.join(parts)


def pictures(cell):
    """Sizes in pixels of what a cell shows."""
    sizes = []
    for output in cell.outputs:
        if 'image/png' in output.get('data', {}):
            data = base64.b64decode(output.data['image/png'])
            sizes.append(Image.open(io.BytesIO(data)).size)
    return sizes


def test_it_is_small_and_was_run_in_one_go(stored):
    assert NOTEBOOK.stat().st_size <= MOST
    counts = [cell.execution_count for cell in code_of(stored)]
    assert counts == list(range(1, len(counts) + 1))
    shown = [size for cell in code_of(stored) for size in pictures(cell)]
    assert len(shown) >= 5


def test_it_holds_no_warnings_and_nothing_of_a_machine(stored):
    for cell in code_of(stored):
        for output in cell.outputs:
            assert output.output_type != 'error'
            assert output.get('name') != 'stderr', output.text
            # PNG, nothing twice, no program for a browser
            assert set(output.get('data', {})) <= {'image/png', 'text/plain'}
        assert 'execution' not in cell.metadata, 'times of a run'
        assert not re.search(r'(?:^|[\s\'"(=])/\w', printed(cell))
        assert ' at 0x' not in printed(cell)


@pytest.mark.slow
def test_it_runs_and_shows_what_it_holds(stored, tmp_path, monkeypatch):
    # the town is made there
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setenv('PYTHONPATH', str(ROOT / 'projects'))
    again = copy.deepcopy(stored)
    for cell in code_of(again):
        cell.outputs = []
    NotebookClient(
        again,
        timeout=600,
        kernel_name='python3',
        resources={'metadata': {'path': str(NOTEBOOK.parent)}},
    ).execute()
    for old, new in zip(code_of(stored), code_of(again)):
        assert pictures(new) == pictures(old)
        assert NUMBER.sub('', printed(new)) == NUMBER.sub('', printed(old))
        values, expected = (
            [float(x) for x in NUMBER.findall(printed(cell))]
            for cell in (new, old)
        )
        assert values == pytest.approx(expected, rel=0.05, abs=0.02)
