"""tools/create_data.py occupancy: labels of sweeps, and their score."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(root, *options):
    return subprocess.run(
        [
            sys.executable,
            ROOT / 'tools' / 'create_data.py',
            *('occupancy', '--root', root, '--version', 'v1.0-mini'),
            *('--info', 'occsplat_infos_val.pkl', '--workers', '1'),
            *options,
        ],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_made_labels_are_scored(minitown_infos, tmp_path):
    done = run(minitown_infos, '--out', tmp_path / 'made', '--score')
    assert done.returncode == 0, done.stderr
    rows = re.findall(r'^\| (\S.*?) \| ([\d.]+) \|$', done.stdout, re.M)
    scores = {name: float(value) for name, value in rows}
    # four sweeps: thin, but of the right places and velocities
    assert 0.2 < scores['RayIoU'] <= scores['RayIoU@4'] < 1
    assert scores['IoU'] > 0.3
    assert scores['flow error'] < 0.1


def test_a_score_needs_another_folder(minitown_infos):
    done = run(minitown_infos, '--score')
    assert done.returncode == 1
    assert 'with --out' in done.stderr and 'Traceback' not in done.stderr
