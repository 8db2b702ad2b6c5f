"""Flow from the occupancy of adjacent frames, with no flow label at all."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EPOCHS = 8


@pytest.fixture(scope='module')
def town(tmp_path_factory):
    """Three scenes to learn from and one to be scored on."""
    from occsplat.data.infos import create_infos
    from occsplat.minitown import create_minitown

    root = create_minitown(
        tmp_path_factory.mktemp('town'),
        scenes=4,
        frames=6,
        image_size=(64, 36),
        progress=False,
    )
    create_infos(root, 'v1.0-mini')
    return root


@pytest.mark.slow
def test_a_network_learns_flow_and_unlearns_it_when_time_runs_backwards(
    town, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    tool = importlib.import_module('flow_without_labels')
    out = tmp_path / 'table.md'
    rows = tool.main(
        ['--root', str(town), '--epochs', str(EPOCHS), '--out', str(out)]
    )
    none, right, wrong, _ = (runs[0]['mAVE_TP'] for runs in rows.values())
    assert none > 1
    assert right < 0.7 * none
    assert wrong > none
    lines = out.read_text().splitlines()
    assert f'{right:.2f}' in lines[3] and f'{wrong:.2f}' in lines[4]
    assert f'--epochs {EPOCHS}' in lines[-1]
