"""Several processes write one file of boxes, every frame once."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from occsplat.engine import SaveBoxesHook, save_boxes_hook
from occsplat.structures import (
    DataError,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(SPEC.grid.range, (40, 20, 8))
RUNNER = SimpleNamespace(logger=logging.getLogger('test'))


def sample(token, place):
    """A frame with one bus at a place along x."""
    occ = torch.full(GRID.shape, SPEC.free, dtype=torch.uint8)
    occ[place : place + 6, 9, 2:5] = SPEC.classes.index('bus')
    meta = dict(token=token, ref2global=np.eye(4))
    return OccDataSample(metainfo=meta, pred_occ=occ)


@pytest.fixture
def save(monkeypatch, tmp_path):
    """Save the frames of several ranks to a file."""

    def run(*ranks):
        path = tmp_path / 'boxes.json'
        hooks = [
            SaveBoxesHook(str(path), grid=GRID, label_spec='openocc')
            for _ in ranks
        ]
        for hook, frames in zip(hooks, ranks):
            hook.before_test(RUNNER)
            for frame in frames:
                hook.after_test_iter(RUNNER, 0, None, [frame])
        for key, value in dict(
            all_gather_object=lambda own: [hook.found for hook in hooks],
            is_main_process=lambda: True,
        ).items():
            monkeypatch.setattr(save_boxes_hook, key, value)
        hooks[0].after_test(RUNNER)
        return json.loads(path.read_text())['results']

    return run


def test_every_frame_is_there_once_from_the_lowest_rank(save):
    results = save(
        [sample('b', 3), sample('b', 9)], [sample('a', 5), sample('b', 20)]
    )
    assert list(results) == ['a', 'b']
    (bus,) = results['b']
    # voxels of 2 m along x from -40 m: 3 to 8
    assert bus['translation'][0] == pytest.approx(-40 + 6 * 2)
    # a bus's typical width, length and height
    assert bus['size'] == pytest.approx([2.94, 11.19, 3.47])
    assert bus['detection_name'] == 'bus' and bus['sample_token'] == 'b'


def test_an_empty_frame_is_in_the_file(save):
    empty = sample('a', 3)
    empty.pred_occ[:] = SPEC.free
    assert save([empty]) == dict(a=[])


def test_what_makes_no_sense_has_no_boxes(save):
    frame = sample('a', 3)
    frame.pred_offsets = torch.full((6, *GRID.shape), float('nan'))
    with pytest.raises(DataError, match="sample 'a', pred_offsets: expected"):
        save([frame])
