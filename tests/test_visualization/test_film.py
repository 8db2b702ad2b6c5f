"""Films of a scene: where the camera is, and what is shown when."""

import numpy as np
import pytest
import torch
from PIL import Image

from occsplat.structures import CameraRig, LabelSpec, OccDataSample
from occsplat.visualization import (
    FilmFrame,
    chase_rig,
    film,
    film_frame,
    scene_film,
    write_gif,
)

SPEC = LabelSpec.named('openocc')
CAR, ROAD = (SPEC.classes.index(n) for n in ('car', 'driveable_surface'))


@pytest.fixture
def few(monkeypatch):
    """Eight pictures in place of 32."""
    monkeypatch.setattr(film, 'PICTURES', 8)


def volume(*cars) -> np.ndarray:
    occ = np.full((50, 50, 4), SPEC.free, dtype=np.uint8)
    occ[:, :, 0] = ROAD
    for x, y in cars:
        occ[x : x + 4, y : y + 4, 1:3] = CAR
    return occ


@pytest.mark.parametrize('frame', ['ego', 'lidar'])
def test_the_camera_goes_around_the_car(frame):
    # ahead, left and above of it in the frame
    at = dict(
        ego=[[9.0, 0, 0], [0, 9.0, 0], [0, 0, 2.0]],
        lidar=[[0, 9.0, 0], [-9.0, 0, 0], [0, 0, 2.0]],
    )[frame]
    points = torch.tensor([*at, [0, 0, 0]], dtype=torch.float64)
    views = []
    for angle in (0, 90, 180):
        rig = film.orbit_rig(angle, 200, 100, frame)
        uv, depth = rig.project(points)
        ahead, left, up, origin = uv[0].numpy()
        assert abs(origin[0] - 100) < 1e-6 and up[1] < origin[1]
        views.append((ahead, left, depth[0].numpy(), origin))
    ahead, left, depth, origin = views[0]  # from behind
    assert left[0] < origin[0] and depth[0] > depth[3]
    ahead, left, depth, origin = views[1]  # from its left
    assert ahead[0] < origin[0] and depth[1] < depth[3]
    ahead, left, depth, origin = views[2]  # from ahead
    assert left[0] > origin[0] and depth[0] < depth[3]


def test_key_frames_follow_in_equal_shares(few):
    frames = [
        FilmFrame({'truth': volume((10 + 10 * n, 10))}, title=f't = {n}')
        for n in range(3)
    ]
    pictures = list(scene_film(frames, SPEC))
    assert len(pictures) == 9 and len({p.shape for p in pictures}) == 1
    # the title stays for a share, the volumes turn all the time
    titles = [picture[:36] for picture in pictures]
    for n in range(1, 9):
        assert np.array_equal(titles[n], titles[n - 1]) == (n % 3 != 0)
        assert not np.array_equal(pictures[n], pictures[n - 1])
    # more key frames than pictures: one of each
    assert len(list(scene_film(frames * 4, SPEC))) == 12


def test_prediction_and_truth_are_seen_by_the_same_camera(few):
    occ, other = volume((30, 30)), volume((30, 30), (40, 5))
    (first, *_) = scene_film([FilmFrame({'a': occ, 'b': occ})], SPEC)
    panel = (first.shape[1] - 18) // 2
    left, right = first[36:270, 6 : 6 + panel], first[36:270, 12 + panel : -6]
    assert np.array_equal(left, right)
    (second, *_) = scene_film([FilmFrame({'a': occ, 'b': other})], SPEC)
    assert np.array_equal(second[36:270, 6 : 6 + panel], left)
    assert not np.array_equal(second[36:270, 12 + panel : -6], right)


@pytest.mark.parametrize('name', ['openocc', 'surroundocc'])
def test_the_own_car_is_white_and_stands_on_the_ground(name):
    spec = LabelSpec.named(name)
    grid = type(spec.grid)(spec.grid.range, (100, 100, 8))
    free = np.full(grid.shape, spec.free, dtype=np.uint8)
    occ, colors = film._with_car(free, grid, spec)
    own = occ != free
    assert (colors[own] == 255).all() and not (colors[~own] == 255).all()
    centers = grid.centers().numpy()[own]
    size = np.ptp(centers, axis=0) + np.array(grid.size)
    along, across = (0, 1) if spec.frame == 'ego' else (1, 0)
    assert 4 < size[along] < 6 and 1 < size[across] < 3 and size[2] < 3
    assert free.max() == spec.free  # what was given is not changed


def test_a_frame_has_the_cameras_that_look_ahead_from_left_to_right():
    eyes = [(9.0, 0, 2), (-9.0, 0.1, 2), (-5.0, -8.0, 2), (-5.0, 8.0, 2)]
    # all look at the origin: the second ahead, the third ahead to the left
    rigs = [chase_rig(80, 48, eye, (0.0, 0.0, 1.0)) for eye in eyes]
    rig = CameraRig.stack([r[0] for r in rigs])
    images = [np.full((48, 80, 3), n, np.uint8) for n in range(4)]
    names = ['CAM_BACK', 'CAM_FRONT', 'CAM_A', 'CAM_B']
    sample = OccDataSample()
    sample.pred_occ = torch.from_numpy(volume())
    found = film_frame(sample, images, SPEC, rig, names)
    photos, renders = found.above
    assert [name for name, _ in photos] == ['a', 'front', 'b']
    assert [name for name, _ in renders] == ['prediction, rendered'] * 3
    assert all(image.shape == (175, 292, 3) for _, image in renders)
    assert list(found.volumes) == ['prediction']
    sample.gt_occ = sample.pred_occ
    large = [np.zeros((900, 1600, 3), np.uint8)] * 4
    found = film_frame(sample, large, SPEC, rig, names)
    assert list(found.volumes) == ['prediction', 'truth']
    assert found.above[0][0][1].shape == (164, 292, 3)
    with pytest.raises(ValueError, match='pred_occ or gt_occ, .* has ..$'):
        film_frame(OccDataSample(), images, SPEC, rig, names)


def test_below_a_photograph_is_the_prediction_as_it_is_rendered():
    rig = chase_rig(80, 50, (-20.0, 2.0, 5.0), (0.0, 0.0, 1.0))
    sample = OccDataSample()
    sample.pred_occ = torch.from_numpy(volume((26, 22)))
    sample.gt_occ = torch.from_numpy(volume((26, 30)))
    image = np.zeros((50, 80, 3), np.uint8)
    # the middles of the cars of prediction and truth, and of road
    grid = type(SPEC.grid)(SPEC.grid.range, (50, 50, 4))
    index = torch.tensor([[28, 24, 2], [28, 32, 2], [20, 24, 0]])
    (uv,), _ = rig.project(grid.centers()[tuple(index.T)].double())
    expected = {'prediction': (CAR, ROAD, ROAD), 'truth': (ROAD, CAR, ROAD)}
    for name, labels in expected.items():
        found = film_frame(sample, [image], SPEC, rig, ['CAM_FRONT'])
        # one camera of three places
        _, (title, view), _ = found.above[1]
        assert title == f'{name}, rendered'
        assert view.shape == (182, 292, 3)
        column, row = (uv * 292 / 80).floor().long().T.numpy()
        palette = np.array(SPEC.palette)
        assert np.array_equal(view[row, column], palette[list(labels)])
        sample.pop('pred_occ', None)
    (picture, *_) = scene_film([found], SPEC)
    # photograph and render are in the middle of their rows
    for row, colors in ((60, {0}), (330, {255})):
        assert set(picture[row, 310:590].max(axis=-1)) == colors
        assert picture[row, 10:290].max() < 30


def test_frames_that_differ_are_refused(few):
    with pytest.raises(ValueError, match='same volumes, got 0 frames'):
        scene_film([], SPEC)
    frames = [FilmFrame({'a': volume()}), FilmFrame({'b': volume()})]
    with pytest.raises(ValueError, match='same volumes'):
        scene_film(frames, SPEC)


def test_a_film_keeps_its_colours_as_a_gif(few, tmp_path):
    occ = volume((30, 30))
    empty = np.full_like(occ, SPEC.free)
    pictures = list(scene_film([FilmFrame({'a': occ, 'b': empty})], SPEC))
    path = write_gif(tmp_path / 'a.gif', pictures, 8, exact=SPEC.palette)
    with Image.open(path) as gif:
        assert gif.n_frames == 8 and gif.info['loop'] == 0
        gif.seek(5)
        shown = np.array(gif.convert('RGB')).astype(int)
    assert np.abs(shown - pictures[5]).mean() < 2
    # the legend, which has the own car, too
    for color in (*(SPEC.palette[n] for n in SPEC.occupied), (255,) * 3):
        assert (shown[-100:] == color).all(axis=-1).sum() >= 19 * 19
