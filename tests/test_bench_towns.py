"""The towns of the bench, in place of a single one."""

from pathlib import Path

import pytest
from mmdet3d.registry import DATASETS

from occsplat.engine import load_config

CONFIGS = Path(__file__).parents[1] / 'occupancy_configs'
METHOD = CONFIGS / 'voxdet/voxdet_fbocc-tiny_minitown.py'


def bench_config(folder, labels, model):
    """A config file of a tiny model on the bench's towns."""
    base = CONFIGS / '_base_'
    parts = [
        f'datasets/{labels}_bench',
        f'models/{model}_tiny',
        'schedules/tiny',
        'runtime',
    ]
    path = folder / 'bench.py'
    path.write_text(f'_base_ = {[f"{base}/{part}.py" for part in parts]}\n')
    return path


@pytest.mark.parametrize(
    'labels, model',
    [('openocc', 'fbocc'), ('occ3d', 'bevstereo'), ('lidar2d', 'bevstereo')],
)
def test_the_bench_trains_on_towns_that_it_is_not_scored_on(
    labels, model, tmp_path
):
    cfg = load_config(bench_config(tmp_path, labels, model))
    trained = cfg.train_dataloader.dataset
    assert len(set(trained.data_root)) == 3
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.data_root not in trained.data_root
        # eight scenes of that town
        assert loader.dataset.ann_file == 'occsplat_infos_train.pkl'
        assert loader.dataset.test_mode


def test_the_transforms_of_a_method_reach_every_town(
    minitown_infos, other_minitown, tmp_path
):
    cfg = load_config(bench_config(tmp_path, 'openocc', 'fbocc'))
    method = load_config(METHOD).train_dataloader
    dataset_cfg = cfg.train_dataloader.dataset
    dataset_cfg.extra_transforms = method.dataset.extra_transforms
    dataset_cfg.data_root = [str(minitown_infos), str(other_minitown)]
    dataset = DATASETS.build(dataset_cfg)
    samples = [dataset[i]['data_samples'] for i in (0, len(dataset) - 1)]
    assert samples[0].scene_name == samples[1].scene_name
    assert samples[0].scene_token != samples[1].scene_token
    assert all('gt_offsets' in sample for sample in samples)
