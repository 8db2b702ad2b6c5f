"""tools/test.py --tta: a detector that looks at mirrored scenes, too."""

import json
from pathlib import Path

import pytest
import torch

from occsplat.engine import init_model, load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'tests/small_fbocc_config.py'


def test_scores_of_mirrored_looks(tester, minitown_infos, tmp_path):
    cfg = load_config(CONFIG)
    torch.manual_seed(0)
    model = init_model(cfg)
    # an untrained network that sees something somewhere
    torch.nn.init.normal_(model.occ_head.occ_branch[-1].weight, std=3.0)
    path = tmp_path / 'weights.pth'
    torch.save(model.state_dict(), path)
    config = tmp_path / 'scored.py'
    config.write_text(
        f"""
_base_ = [{str(CONFIG)!r}]
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root='{minitown_infos}/'),
)
test_evaluator = [dict(type='OccIoUMetric', label_spec='openocc')]
"""
    )

    def score(name, *more):
        command = [str(config), str(path), '--work-dir', str(tmp_path), *more]
        command += ['--cfg-options', f'experiment_name={tmp_path.name}_{name}']
        return tester.main(command)

    plain, mirrored = score('plain'), score('tta', '--tta', 'images')
    for name, found in (('metrics', plain), ('metrics_tta', mirrored)):
        written = json.loads((tmp_path / f'{name}.json').read_text())
        assert written['metrics']['mIoU'] == found['mIoU']
    assert plain['mIoU'] > 0 and mirrored['mIoU'] > 0
    assert plain['mIoU'] != mirrored['mIoU']


def test_what_is_no_detector_is_refused(tester, tmp_path):
    config = ROOT / (
        'occupancy_configs/pretrain/depth-semantics_fbocc-tiny_minitown.py'
    )
    with pytest.raises(SystemExit, match='of an OccDetector'):
        tester.main(
            [str(config), 'none.pth', '--work-dir', str(tmp_path), '--tta']
        )
