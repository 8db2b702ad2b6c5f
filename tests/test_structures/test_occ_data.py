"""OccBatch: stacking samples."""

import pytest
import torch

from occsplat.structures import CameraRig, OccBatch, OccDataSample


def make_sample(flow=True):
    eye = torch.eye(4).expand(1, 6, 4, 4)
    sample = OccDataSample(metainfo=dict(token='a', prev=''))
    sample.rig = CameraRig.from_matrices(eye, eye[..., :3, :3], 8, 4)
    sample.gt_occ = torch.zeros(3, 4, 5, dtype=torch.uint8)
    if flow:
        sample.gt_flow = torch.zeros(3, 4, 5, 2)
        sample.gt_flow[1, 2, 3] = torch.tensor([7.0, 8.0])
    return sample


def test_flow_becomes_channels_first():
    batch = OccBatch.collate([make_sample(), make_sample()])
    assert batch.gt_flow.shape == (2, 2, 3, 4, 5)
    assert batch.gt_flow[1, :, 1, 2, 3].tolist() == [7, 8]
    assert batch.rig.ref2cam.shape == (2, 1, 6, 4, 4)
    assert batch.gt_occ.dtype == torch.int64
    assert batch.gt_depth is None
    assert batch.metas[0]['token'] == 'a'


def test_a_field_in_some_samples_only_is_an_error():
    with pytest.raises(ValueError, match='gt_flow is present in 1 of 2'):
        OccBatch.collate([make_sample(), make_sample(flow=False)])


def test_samples_move_between_devices_with_their_rig():
    sample = make_sample().to(torch.float64)
    assert sample.rig.K.dtype == torch.float64
