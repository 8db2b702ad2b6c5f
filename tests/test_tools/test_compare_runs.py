"""compare_methods.py with real runs of a toy, side by side."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name('toy_config.py')
ROWS = f"""
toy = {str(TOY)!r}
rows = [
    dict(name='host', config=toy),
    dict(name='again', config=toy, baseline='host', seed_offset=100),
    dict(
        name='broken',
        config=toy,
        options=dict(test_evaluator=dict(type='BrokenMetric')),
        baseline='host',
    ),
]
"""
BROKEN = """
from mmdet3d.registry import METRICS
from toy import ToyMetric

@METRICS.register_module(force=True)
class BrokenMetric(ToyMetric):
    def compute_metrics(self, results):
        raise OSError('the metric is broken')
"""


@pytest.mark.slow
def test_rows_of_a_toy(tmp_path):
    """Two rows in processes; a third fails in its test, and is told.

    One seed: every run is two processes that import for seconds, and what
    more seeds give is counted in test_compare_methods.py.
    """
    (tmp_path / 'rows.py').write_text(ROWS)
    (tmp_path / 'broken.py').write_text(BROKEN)
    folder = tmp_path / 'runs'
    command = [
        sys.executable, ROOT / 'tools' / 'compare_methods.py',
        '--rows', tmp_path / 'rows.py', '--work-dir', folder, '--jobs', '2',
        '--metrics', 'error', '--seeds', '4', '--cfg-options',
        'custom_imports.imports=[occsplat.plugin,toy,broken]',
    ]  # fmt: skip
    path = os.pathsep.join([str(TOY.parent), str(tmp_path)])
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=path),
    )
    assert done.returncode == 1
    assert '1 of 3 runs failed' in done.stderr
    assert 'test.py of broken, seed 4, failed' in done.stderr
    assert 'Traceback' not in done.stderr
    log = (folder / 'broken_seed4' / 'test.log').read_text()
    assert 'the metric is broken' in log
    lines = (folder / 'comparison.md').read_text().splitlines()
    assert '2 of 3 are complete' in lines[2]
    (again,) = [line for line in lines if line.startswith('| again | host')]
    # each run had the seed that its row asks for
    found = [
        json.loads((folder / f'{name}_seed4' / 'metrics.json').read_text())
        for name in ('again', 'host')
    ]
    errors = [content['metrics']['error'] for content in found]
    difference = errors[0] - errors[1]
    assert abs(difference) > 1e-3
    assert f'| 1 | {difference:+.4f} |' in again
    page = (folder / 'index.html').read_text()
    assert 'alt="training losses"' in page
