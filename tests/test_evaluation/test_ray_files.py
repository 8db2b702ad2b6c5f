"""Ray files: what is in them, what they score, and what is refused."""

import dataclasses
import gzip
import json
import os
import pickle

import numpy as np
import pytest
import torch

from occsplat.evaluation import (
    CHALLENGE_INFO,
    FrameRays,
    RayFileWriter,
    RayIoUMetric,
    cast_frame,
    check_tokens,
    compare_rays,
    count_rays,
    from_arrays,
    lidar_rays,
    read_challenge_info,
    read_ray_file,
    to_arrays,
)
from occsplat.structures import DataError, LabelSpec, VoxelGrid

OPENOCC = LabelSpec.named('openocc')
SMALL = VoxelGrid(OPENOCC.grid.range, (100, 100, 8))
CAR, ROAD, MANMADE, FREE = 0, 10, 14, OPENOCC.free
RAYS = 14040


def scene(seed):
    """A road, walls and boxes that move, as (occ, flow)."""
    occ = torch.full(SMALL.shape, FREE, dtype=torch.uint8)
    flow = torch.zeros(*SMALL.shape, 2)
    occ[:, :, 0] = ROAD
    occ[:, [10, 90], 1:6] = MANMADE
    make = torch.Generator().manual_seed(seed)
    for x, y in torch.randint(15, 85, (12, 2), generator=make).tolist():
        occ[x : x + 5, y : y + 2, 1:3] = CAR
        flow[x : x + 5, y : y + 2, 1:3] = torch.randn(2, generator=make)
    return occ, flow


def some_rays(origins=1, seed=0):
    """Rays whose numbers half precision holds exactly."""
    make = torch.Generator().manual_seed(seed)

    def draw(high, *shape):
        return torch.randint(high, (RAYS * origins, *shape), generator=make)

    return FrameRays(
        draw(17), draw(160).double() / 4, draw(16, 2).double() / 2 - 4
    )


def write(path, frames, info=None):
    with RayFileWriter(path, info) as out:
        for token, rays in frames.items():
            out.add(token, to_arrays(rays))
    return path


def dump(path, content):
    with gzip.open(path, 'wb') as file:
        pickle.dump(content, file)
    return path


def test_the_file_is_what_the_challenge_reads(tmp_path):
    """Read as the challenge's scripts do: with pickle itself."""
    frames = dict(a=some_rays(8), b=some_rays(1, seed=1))
    info = {'team': 'Us', 'authors': ['A', 'Ö'], 'e-mail': 'a@b'}
    path = write(tmp_path / 'rays.gz', frames, info)
    with gzip.open(path, 'rb') as file:
        content = pickle.load(file)
    assert list(content) == [*CHALLENGE_INFO, 'results']
    assert content['method'] == 'OccSplat' and content['authors'][1] == 'Ö'
    assert list(content['results']) == ['a', 'b']
    arrays = content['results']['a']
    assert list(arrays) == ['pcd_cls', 'pcd_dist', 'pcd_flow']
    assert arrays['pcd_cls'].dtype == np.uint8
    assert arrays['pcd_dist'].dtype == arrays['pcd_flow'].dtype == np.float16
    assert arrays['pcd_cls'].shape == arrays['pcd_dist'].shape == (112320,)
    assert arrays['pcd_flow'].shape == (112320, 2)
    np.testing.assert_array_equal(arrays['pcd_flow'], frames['a'].flow)
    assert [p.name for p in tmp_path.iterdir()] == ['rays.gz']


def test_names_of_numpy_that_every_numpy_knows(tmp_path):
    raw = gzip.decompress(
        write(tmp_path / 'a.gz', dict(a=some_rays())).read_bytes()
    )
    assert b'numpy.core.multiarray' in raw and b'numpy._core' not in raw


def test_same_content_same_bytes(tmp_path):
    frames = dict(a=some_rays(), b=some_rays(seed=1))
    one = write(tmp_path / 'one.gz', frames)
    os.utime(one, (0, 0))
    two = write(tmp_path / 'two.gz', frames)
    assert one.read_bytes() == two.read_bytes()
    other = write(tmp_path / 'other.gz', dict(frames, b=some_rays(seed=2)))
    assert one.read_bytes() != other.read_bytes()


def test_what_is_written_is_read(tmp_path):
    rays = some_rays(2)
    still = dataclasses.replace(rays, flow=None)
    path = write(tmp_path / 'rays.gz', dict(a=rays, b=still))
    found = read_ray_file(path)
    assert found.info == CHALLENGE_INFO
    for name in ('label', 'distance', 'flow'):
        back = getattr(found.rays('a'), name)
        assert torch.equal(back, getattr(rays, name)), name
    assert found.rays('b').flow is None


def test_rays_go_origin_by_origin_and_pitch_by_pitch():
    """The order of SparseOcc's and the challenge's scripts."""
    occ, flow = scene(0)
    origins = torch.tensor([[0.9, 0.0, 1.8], [10.0, 2.0, 1.8]])
    both = cast_frame('gt', occ, origins, lidar_rays(), OPENOCC, SMALL, flow)
    assert len(both) == 2 * RAYS
    # second origin, pitch 3, azimuth 90 degrees
    ray = torch.tensor(
        [[0.0, np.cos(np.arctan(0.25)), -np.sin(np.arctan(0.25))]]
    )
    one = cast_frame('gt', occ, origins[1:], ray, OPENOCC, SMALL, flow)
    place = RAYS + 3 * 360 + 90
    assert both.label[place] == one.label[0]
    assert both.distance[place] == pytest.approx(one.distance[0].item())


def test_files_score_as_volumes_where_nothing_is_rounded():
    # rays along x in voxels of 1 m: distances are halves, flows are whole
    grid = VoxelGrid(range=(0, 0, 0, 20, 4, 1), shape=(20, 4, 1))
    origins = torch.tensor([[0.5, y + 0.5, 0.5] for y in range(4)])
    forward = torch.tensor([[1.0, 0.0, 0.0]])
    volumes = {}
    for name, cars in dict(gt=(10, 12, 5), pred=(10, 13, 9)).items():
        occ = torch.full(grid.shape, FREE, dtype=torch.uint8)
        flow = torch.zeros(*grid.shape, 2)
        for lane, x in enumerate(cars):
            occ[x, lane, 0] = CAR
            flow[x, lane, 0] = torch.tensor([x - 7.0, lane])
        volumes[name] = occ, flow
    occ, flow = volumes['pred'], volumes['gt']
    whole = count_rays(
        occ[0], flow[0], origins, forward, OPENOCC, grid, occ[1], flow[1]
    )
    pred, truth = (
        from_arrays(
            to_arrays(cast_frame(name, o, origins, forward, OPENOCC, grid, f))
        )
        for name, (o, f) in (('pred', occ), ('gt', flow))
    )
    counts = compare_rays(pred, truth, OPENOCC)
    assert counts.rays == 3 and whole.matched_error[CAR] > 0
    for field in dataclasses.fields(counts):
        np.testing.assert_array_equal(
            getattr(counts, field.name), getattr(whole, field.name)
        )


def test_half_precision_moves_scores_by_less_than_a_thousandth(tmp_path):
    origins = torch.tensor([[0.9, 0.0, 1.84], [10.0, 2.0, 1.8]])
    exact, rounded = (
        RayIoUMetric(grid=SMALL, label_spec='openocc'),
        RayIoUMetric(grid=SMALL, label_spec='openocc'),
    )
    truth = scene(0)
    pred = (truth[0].roll(1, 0), truth[1].roll(1, 0) * 0.9)
    exact.add('a', pred[0], truth[0], origins, pred[1], truth[1])
    files = {
        name: read_ray_file(
            write(
                tmp_path / f'{name}.gz',
                dict(
                    a=cast_frame(
                        name, occ, origins, lidar_rays(), OPENOCC, SMALL, flow
                    )
                ),
            )
        )
        for name, (occ, flow) in dict(pred=pred, gt=truth).items()
    }
    rounded.add_rays('a', *(files[name].rays('a') for name in ('pred', 'gt')))
    whole, half = exact.score(), rounded.score()
    assert 0.1 < whole['RayIoU'] < 0.95 and whole['mAVE'] > 0
    moved = {k: abs(whole[k] - half[k]) for k in ('RayIoU', 'mAVE_TP')}
    assert 0 < moved['RayIoU'] < 1e-3
    assert 0 < moved['mAVE_TP'] < 1e-3
    assert half == pytest.approx(whole, abs=5e-3, nan_ok=True)


def test_free_rays_of_the_truth_do_not_count():
    truth, pred = some_rays(), some_rays(seed=1)
    truth.label[:100] = FREE
    kept = truth.label != FREE
    assert compare_rays(pred, truth, OPENOCC).rays == int(kept.sum())
    # whatever is predicted there
    pred.label[:100] = CAR
    before = compare_rays(pred, truth, OPENOCC).predicted
    pred.label[:100] = ROAD
    after = compare_rays(pred, truth, OPENOCC).predicted
    np.testing.assert_array_equal(before, after)


def test_wrong_pairs_of_rays_are_named():
    one, two = some_rays(), some_rays(2)
    with pytest.raises(ValueError, match='expected 28080 .* got 14040'):
        compare_rays(one, two, OPENOCC)
    one.label[5] = 17
    with pytest.raises(ValueError, match='pred holds class id 17'):
        compare_rays(one, some_rays(), OPENOCC)
    metric = RayIoUMetric(label_spec='openocc')
    still = dataclasses.replace(some_rays(), flow=None)
    with pytest.raises(ValueError, match='no flow in prediction'):
        metric.add_rays('a', still, some_rays())
    RayIoUMetric(flow=False, label_spec='openocc').add_rays(
        'a', still, some_rays()
    )


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_strangers_file_runs_nothing(tmp_path):
    trace = tmp_path / 'trace'
    arrays = to_arrays(some_rays())
    arrays['pcd_cls'] = np.array([Attack(trace)] * 3, dtype=object)
    path = dump(tmp_path / 'x.gz', dict(results=dict(a=arrays)))
    with pytest.raises(DataError, match=r'x\.gz: refused to load .*O8'):
        read_ray_file(path)
    assert not trace.exists()


def broken(**changes):
    arrays = {**to_arrays(some_rays()), **changes}
    return {k: v for k, v in arrays.items() if v is not None}


NAN = np.full(RAYS, np.nan, np.float16)


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ([], "token 'a': expected a dict, got list"),
        (broken(pcd_dist=None), "token 'a': no pcd_dist, expected"),
        (broken(pcd_cls=NAN), 'pcd_cls: expected uint8 .* got float16'),
        (broken(pcd_flow=NAN), r'pcd_flow: .*\(R, 2\), got .*\(14040,\)'),
        (broken(pcd_dist=NAN), 'pcd_dist: .* all finite'),
        (broken(pcd_dist=NAN[:-1]), r'pcd_dist: .*got .*\(14039,\)'),
        (to_arrays(some_rays(9)), 'T = 1 to 8 origins.* got .*126360'),
        (
            {k: v[:15840] for k, v in to_arrays(some_rays(2)).items()},
            r'R = T \* 14040.*15840',
        ),
        (broken(pcd_cls=np.full(RAYS, -1)), 'pcd_cls: .* got -1 to -1'),
    ],
)
def test_frames_of_another_shape_are_named(tmp_path, arrays, message):
    path = dump(tmp_path / 'x.gz', dict(results=dict(a=arrays)))
    with pytest.raises(DataError, match=r"x\.gz, token 'a'"):
        read_ray_file(path)
    with pytest.raises(DataError, match=message):
        read_ray_file(path)
    with pytest.raises(DataError, match=message):
        with RayFileWriter(tmp_path / 'new.gz') as out:
            out.add('a', arrays)
    assert [p.name for p in tmp_path.iterdir()] == ['x.gz']


def test_flow_gone_astray_still_fits_a_file(tmp_path):
    """Of a network that diverged; the file would fail at the very end."""
    rays = some_rays()
    rays.flow[0] = torch.tensor([1e6, -1e30], dtype=rays.flow.dtype)
    path = write(tmp_path / 'x.gz', dict(a=rays))
    flow = read_ray_file(path).rays('a').flow
    assert flow[0].tolist() == [65504, -65504]
    assert torch.equal(flow[1:], rays.flow[1:].half().to(flow))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('field', ['flow', 'distance'])
def test_what_is_not_finite_is_named_at_its_frame(field, value):
    rays = some_rays()
    getattr(rays, field)[3] = value
    with pytest.raises(DataError, match=f"'abc', pcd_{field[:4]}: expected"):
        to_arrays(rays, 'abc')


def test_types_of_other_tools_are_read(tmp_path):
    rays = some_rays()
    arrays = to_arrays(rays)
    arrays['pcd_cls'] = arrays['pcd_cls'].astype(np.int8)
    arrays['pcd_dist'] = arrays['pcd_dist'].astype(np.float32)
    path = dump(tmp_path / 'x.gz', dict(results=dict(a=arrays), method='m'))
    found = read_ray_file(path)
    assert torch.equal(found.rays('a').label, rays.label)
    assert found.info == dict(method='m')


@pytest.mark.parametrize('content', [[], dict(results=[]), dict(a=1)])
def test_files_of_another_kind_are_named(tmp_path, content):
    path = dump(tmp_path / 'x.gz', content)
    with pytest.raises(DataError, match=r'x\.gz: expected a dict with a di'):
        read_ray_file(path)


def test_damaged_files_are_named(tmp_path):
    path = write(tmp_path / 'x.gz', dict(a=some_rays()))
    whole = path.read_bytes()
    for damaged in (whole[:-20], whole[:50], b'', b'no gzip'):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r'x\.gz: not a complete gz'):
            read_ray_file(path)
    with pytest.raises(FileNotFoundError):
        read_ray_file(tmp_path / 'nowhere.gz')


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write(tmp_path / 'x.gz', dict(a=some_rays()))
    before = path.read_bytes()
    with pytest.raises(DataError, match="token 'b' comes twice"):
        write_twice(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['x.gz']
    with pytest.raises(DataError, match=r"called \.gz, not '\.pkl'"):
        RayFileWriter(tmp_path / 'x.pkl')


def write_twice(path):
    with RayFileWriter(path) as out:
        for _ in range(2):
            out.add('b', to_arrays(some_rays()))


def test_challenge_info(tmp_path):
    path = tmp_path / 'info.json'
    path.write_text(json.dumps({'team': 'Us', 'authors': ['A']}))
    assert read_challenge_info(path) == dict(
        CHALLENGE_INFO, team='Us', authors=['A']
    )
    for content, message in (
        ({'teem': 'Us'}, r"unknown keys \['teem'\]"),
        ({'authors': 'A'}, "'authors' must be a list of texts, got 'A'"),
        ({'team': 3}, "'team' must be text, got 3"),
        ([], 'expected a JSON object'),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=message):
            read_challenge_info(path)
    path.write_text('{')
    with pytest.raises(DataError, match='info.json: not a JSON file'):
        read_challenge_info(path)


def test_missing_and_unknown_tokens_are_counted_and_named():
    check_tokens({'a', 'b'}, {'a', 'b'}, 'x.gz')
    with pytest.raises(DataError, match=r'x.gz: 2 of 3 .* missing: b, c$'):
        check_tokens({'a'}, {'a', 'b', 'c'}, 'x.gz')
    with pytest.raises(DataError, match=r'4 of 5 .* not in .*: b, c, d, \.'):
        check_tokens(set('abcde'), {'a'}, 'x.gz')
