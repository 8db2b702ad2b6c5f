"""Predicted volumes come back as they were."""

import numpy as np
import pytest
import torch

from occsplat.evaluation import read_volumes, write_volumes
from occsplat.structures import DataError, LabelSpec, VoxelGrid

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(range=(0, 0, 0, 4, 3, 2), shape=(4, 3, 2))


def volumes(everywhere=False):
    make = torch.Generator().manual_seed(0)
    occ = torch.randint(17, GRID.shape, generator=make).to(torch.uint8)
    flow = torch.randn(*GRID.shape, 2, generator=make)
    movable = torch.isin(occ, torch.tensor(SPEC.movable))
    assert 0 < int(movable.sum()) < GRID.num_voxels
    if not everywhere:
        flow[~movable] = 0
    return occ, flow, int(movable.sum())


@pytest.mark.parametrize('everywhere', [False, True])
def test_nothing_is_lost(tmp_path, everywhere):
    occ, flow, movable = volumes(everywhere)
    path = tmp_path / 'scene' / 'token' / 'preds.npz'
    write_volumes(path, occ, flow, SPEC)
    back = read_volumes(path, SPEC, GRID)
    assert torch.equal(back[0], occ) and torch.equal(back[1], flow)
    assert back[0].dtype == torch.uint8
    # short where that says it all
    stored = np.load(path)['flow']
    assert stored.shape == ((4, 3, 2, 2) if everywhere else (movable, 2))
    assert [p.name for p in path.parent.iterdir()] == ['preds.npz']


def test_without_flow(tmp_path):
    occ = volumes()[0]
    write_volumes(tmp_path / 'preds.npz', occ, None, SPEC)
    back = read_volumes(tmp_path / 'preds.npz', SPEC, GRID)
    assert torch.equal(back[0], occ) and back[1:] == (None, None)


def test_offsets_of_any_stride(tmp_path):
    occ = volumes()[0]
    # every other voxel along axes that two divides
    grid = VoxelGrid(range=(0, 0, 0, 4, 6, 2), shape=(4, 6, 2))
    occ = occ.repeat(1, 2, 1)
    for shape in ((6, 4, 6, 2), (6, 2, 3, 1)):
        offsets = torch.rand(shape) * 10
        write_volumes(tmp_path / 'preds.npz', occ, None, SPEC, offsets)
        back = read_volumes(tmp_path / 'preds.npz', SPEC, grid)
        assert torch.equal(back[2], offsets) and back[1] is None
        assert torch.equal(back[0], occ)


def test_wrong_files_are_named(tmp_path):
    path = tmp_path / 'preds.npz'
    occ = volumes()[0].numpy()
    for arrays, message in (
        (dict(flow=occ), 'expected semantics .* got only'),
        (dict(semantics=occ[1:]), r'semantics of shape \(4, 3, 2\).*got'),
        (dict(semantics=occ * 1.0), 'got float64 of shape'),
        (dict(semantics=occ.astype(int) - 300), 'semantics holds class id'),
        (
            dict(semantics=occ, flow=np.zeros((1, 2))),
            r'flow of shape \(\d+, 2\) or \(4, 3, 2, 2\).* got .*\(1, 2\)',
        ),
        (
            dict(semantics=occ, offsets=np.zeros((6, 4, 3, 1))),
            r'offsets of shape \(6, 4, 3, 2\) .* got .*\(6, 4, 3, 1\)',
        ),
        (dict(semantics=np.array([print])), 'damaged'),
    ):
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=rf'preds\.npz.*{message}'):
            read_volumes(path, SPEC, GRID)
    path.write_bytes(b'PK\x03\x04 half')
    with pytest.raises(DataError, match='damaged'):
        read_volumes(path, SPEC, GRID)
    with pytest.raises(FileNotFoundError):
        read_volumes(tmp_path / 'none.npz', SPEC, GRID)
