"""Which loss pulls how hard: tools/loss_gradients.py."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = 'occupancy_configs/gaussrender/gaussrender_tpvformer-tiny_minitown.py'


@pytest.fixture
def run(monkeypatch, minitown_infos):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    tool = importlib.import_module('loss_gradients')

    def measure(*options, config=CONFIG):
        data = f'train_dataloader.dataset.data_root={minitown_infos}'
        arguments = [str(ROOT / config), '--frames', '2', '--device', 'cpu']
        return tool.main([*arguments, '--cfg-options', data, *options])

    return measure


def test_a_weight_lengthens_its_gradients(run, capsys):
    one, two = (
        run(f'model.render_heads.0.weight={weight}') for weight in (2.0, 4.0)
    )
    assert '| all losses in 3D |' in capsys.readouterr().out
    together = one['all losses in 3D']
    assert together['over 3D'] == pytest.approx(1, rel=1e-4)
    assert together['cosine'] == pytest.approx(1, rel=1e-4)
    voxel = [row for name, row in one.items() if name.startswith('loss_occ')]
    assert together['value'] == pytest.approx(sum(r['value'] for r in voxel))
    rendered = [name for name in one if 'gaussrender' in name]
    assert len(rendered) == 4
    for name in rendered:
        for column in ('value', 'gradient', 'over 3D'):
            ratio = two[name][column] / one[name][column]
            assert ratio == pytest.approx(2, rel=1e-3)
        assert two[name]['cosine'] == pytest.approx(
            one[name]['cosine'], abs=1e-4
        )


def test_without_losses_in_3d_there_is_nothing_to_compare(run):
    with pytest.raises(SystemExit, match='nothing to compare with'):
        run(
            'model.occ_head.loss_weights.cross_entropy=0',
            'model.occ_head.loss_weights.lovasz=0',
        )
