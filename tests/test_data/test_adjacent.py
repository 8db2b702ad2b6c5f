"""LoadAdjacentFrames: where other key frames' labels and cameras are."""

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS

from occsplat.data.transforms import LoadAdjacentFrames, LoadOccLabels
from occsplat.structures import LabelSpec, OccBatch

SPEC = LabelSpec.named('openocc')
#: classes that stay where they are: barrier, manmade
STILL = (9, 14)


def make_dataset(root, aug=True, frames=(-1, 1), **options):
    turned = dict(
        type='VolumeAug', rotate=20.0, scale=(0.95, 1.05), flip_x=1.0
    )
    return DATASETS.build(
        dict(
            type='NuScenesOccDataset',
            data_root=str(root),
            ann_file='occsplat_infos_train.pkl',
            pipeline=[
                dict(type='LoadMultiViewImages'),
                dict(type='LoadOccLabels', label_spec='openocc'),
                dict(type='RenderViews', frames=(0, *frames)),
                *([turned] if aug else []),
                dict(type='ImageAug', size=(64, 32)),
                dict(type='PackOccInputs'),
            ],
            extra_transforms=[
                dict(type='LoadAdjacentFrames', frames=frames, **options)
            ],
            label_spec='openocc',
        )
    )


@pytest.mark.parametrize('aug', [False, True])
def test_static_things_of_another_frame_lie_on_those_of_this_one(
    aug, minitown_infos
):
    np.random.seed(0)
    sample = make_dataset(minitown_infos, aug)[1]['data_samples']
    grid = SPEC.grid
    for m in range(2):
        occ = sample.adjacent.occ[m]
        there = torch.isin(occ, torch.tensor(STILL))
        matrix = sample.adjacent.frame2ref[m]
        points = grid.centers()[there] @ matrix[:3, :3].T + matrix[:3, 3]
        index, inside = grid.locate(points)
        here = sample.gt_occ[tuple(index[inside].T)]
        known = here != SPEC.ignore
        # voxels of two frames are cut differently: nearly all, not all
        agree = torch.isin(here[known], torch.tensor(STILL)).float().mean()
        assert known.sum() > 1000
        assert agree > 0.75
        # without the way between the frames they would not
        wrong = sample.gt_occ[there]
        wrong = wrong[wrong != SPEC.ignore]
        if aug:
            wrong = torch.isin(wrong, torch.tensor(STILL)).float().mean()
            assert wrong < agree - 0.15


def test_cameras_are_those_of_the_render_views(minitown_infos):
    np.random.seed(0)
    sample = make_dataset(minitown_infos)[1]['data_samples']
    adjacent, views = sample.adjacent, sample.render_rig
    assert adjacent.rig.ref2cam.shape == (2, 6, 4, 4)
    torch.testing.assert_close(
        adjacent.rig.ref2cam.flatten(0, 1), views.ref2cam[6:]
    )
    torch.testing.assert_close(
        adjacent.rig.image_K.flatten(0, 1), views.image_K[6:]
    )
    torch.testing.assert_close(
        adjacent.dt.repeat_interleave(6), sample.render_dt[6:]
    )
    assert adjacent.dt.tolist() == pytest.approx([-0.5, 0.5], abs=0.1)


def test_a_frame_beyond_the_scene_is_the_current_one_at_no_distance(
    minitown_infos,
):
    sample = make_dataset(minitown_infos, aug=False)[0]['data_samples']
    assert sample.prev == ''
    assert sample.adjacent.dt[0] == 0 < sample.adjacent.dt[1]
    torch.testing.assert_close(sample.adjacent.frame2ref[0], torch.eye(4))
    assert torch.equal(sample.adjacent.occ[0], sample.gt_occ)


def test_time_that_runs_backwards_changes_nothing_but_its_sign(
    minitown_infos,
):
    forth, back = (
        make_dataset(minitown_infos, aug=False, **options)[1]['data_samples']
        for options in ({}, dict(backwards=True))
    )
    assert torch.equal(back.adjacent.dt, -forth.adjacent.dt)
    assert torch.equal(back.adjacent.occ, forth.adjacent.occ)
    assert torch.equal(back.adjacent.frame2ref, forth.adjacent.frame2ref)


def test_batches_keep_one_set_a_sample(minitown_infos):
    dataset = make_dataset(minitown_infos)
    batch = OccBatch.collate([dataset[i]['data_samples'] for i in range(2)])
    assert [len(frames) for frames in batch.adjacent] == [2, 2]


def test_flow_is_not_even_read(tmp_path):
    # a label file without flow would be an error if it were
    path = tmp_path / 'labels.npz'
    occ = np.full(SPEC.grid.shape, SPEC.free, np.uint8)
    np.savez(path, semantics=occ)
    record = dict(
        openocc_path=str(path), visibility_path=None, ref_frame='ego'
    )
    results = LoadOccLabels(with_flow=False, label_spec='openocc').transform(
        dict(record)
    )
    assert 'gt_flow' not in results
    with pytest.raises(ValueError, match='flow'):
        LoadOccLabels(label_spec='openocc').transform(dict(record))


@pytest.mark.parametrize('wrong', [dict(frames=(0, 1)), dict(scale=0.0)])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LoadAdjacentFrames(**wrong)
