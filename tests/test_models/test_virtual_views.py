"""Virtual cameras: where they stand and where they look."""

import math

import pytest
import torch

from occsplat.models.render_heads.camera_strategies import (
    STRATEGIES,
    Scene,
    look_at,
    moved,
)
from occsplat.models.render_heads.virtual_views import (
    CameraViews,
    PinholeFromAbove,
    PlaneView,
)
from occsplat.structures import CameraRig, VoxelGrid

GRID = VoxelGrid(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8))
SURROUNDOCC = VoxelGrid(range=(-50, -50, -5, 50, 50, 3), shape=(200, 200, 16))


def sensor(yaw=0.0, place=(1.5, 0.3, 1.6)):
    """Level, looking along +x turned left by yaw degrees."""
    axes = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    a = math.radians(yaw)
    turn = torch.tensor(
        [[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0],
         [0, 0, 1]]
    )  # fmt: skip
    view = torch.eye(4)
    view[:3, :3] = axes @ turn.T
    view[:3, 3] = -view[:3, :3] @ torch.tensor(place)
    return view


def make_scene(grid=GRID, seed=0):
    views = torch.stack([sensor(60.0 * n) for n in range(6)])
    K = torch.tensor([[80.0, 0, 50], [0, 80, 28], [0, 0, 1]])
    rig = CameraRig.from_matrices(views, K.repeat(6, 1, 1), 100, 56)
    generator = torch.Generator().manual_seed(seed)
    # a floor with things on it
    occupied = torch.rand(4000, 3, generator=generator)
    occupied = occupied * torch.tensor([80.0, 80, 2]) - torch.tensor(
        [40.0, 40, 1]
    )
    error = torch.zeros(grid.shape)
    return Scene(rig, grid, occupied, error)


def eyes(views):
    return torch.linalg.inv(views.cameras.viewmats)[:, :3, 3]


def directions(views):
    """Where the cameras look, in the reference frame."""
    return views.cameras.viewmats[:, 2, :3]


def rigid(matrix):
    eye = torch.eye(3)
    return torch.allclose(matrix[:3, :3] @ matrix[:3, :3].T, eye, atol=1e-5)


def test_moved_goes_up_looks_down_and_turns_left():
    view = moved(sensor(), torch.tensor([1.0, 2, 5]), pitch=20.0, yaw=0.0)
    where = torch.linalg.inv(view)[:3, 3]
    torch.testing.assert_close(where, torch.tensor([2.5, 2.3, 6.6]))
    slope = math.radians(20)
    expected = torch.tensor([math.cos(slope), 0, -math.sin(slope)])
    torch.testing.assert_close(view[2, :3], expected, atol=1e-6, rtol=0)
    view = moved(sensor(), torch.zeros(3), pitch=0.0, yaw=90.0)
    torch.testing.assert_close(
        view[2, :3], torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0
    )
    # the image stays upright: its down axis has nothing sideways
    view = moved(sensor(30.0), torch.zeros(3), pitch=15.0, yaw=40.0)
    assert float(view[0, 2]) == pytest.approx(0, abs=1e-6)
    assert float(view[1, 2]) < -0.9


def test_a_mirrored_camera_stays_mirrored():
    mirror = torch.diag(torch.tensor([1.0, -1, 1, 1]))
    view = moved(sensor() @ mirror, torch.tensor([0.0, 0, 4]), 10.0, 0.0)
    assert float(torch.linalg.det(view[:3, :3])) == pytest.approx(-1)
    assert float(torch.linalg.inv(view)[2, 3]) == pytest.approx(5.6)
    assert float(view[2, 2]) == pytest.approx(-math.sin(math.radians(10)))


def test_look_at():
    eye, target = torch.tensor([3.0, -2, 8]), torch.tensor([10.0, 5, 0])
    view = look_at(eye, target)
    assert rigid(view) and float(torch.linalg.det(view[:3, :3])) > 0
    local = view[:3, :3] @ target + view[:3, 3]
    distance = float((target - eye).norm())
    torch.testing.assert_close(
        local, torch.tensor([0, 0, distance]), atol=1e-5, rtol=0
    )
    assert float(view[1, 2]) < 0  # up is up
    below = look_at(eye, eye - torch.tensor([0, 0, 4.0]))
    assert rigid(below)


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_strategies_stay_in_their_ranges(strategy):
    scene = make_scene()
    scene.error[70, 40, 2] = 5.0
    sampler = CameraViews(strategy=strategy, count=3)
    generator = torch.Generator().manual_seed(1)
    ranges = sampler.strategy
    places, pitches = [], []
    for _ in range(20):
        views = sampler(scene, generator)
        assert views.cameras.viewmats.shape == (3, 4, 4)
        assert (views.cameras.width, views.cameras.height) == (100, 56)
        assert all(rigid(view) for view in views.cameras.viewmats)
        places.append(eyes(views))
        pitches.append(-torch.rad2deg(directions(views)[:, 2].asin()))
    places, pitches = torch.cat(places), torch.cat(pitches)
    sensors = eyes_of_rig(scene.rig)
    offsets = torch.cdist(places, sensors).amin(1)
    heights = places[:, 2] - 1.6
    if strategy == 'sensor':
        assert float(offsets.max()) < 1e-4
        return
    low, high = ranges.height
    assert float(heights.min()) >= low - 1e-4
    assert float(heights.max()) <= high + 1e-4
    assert float(heights.std()) > 1
    if strategy == 'dynamic':
        radius = places[:, :2].norm(dim=1)
        assert 5 - 1e-4 <= float(radius.min())
        assert float(radius.max()) <= 20 + 1e-4
        return
    assert float(pitches.min()) >= ranges.pitch[0] - 0.01
    assert float(pitches.max()) <= ranges.pitch[1] + 0.01
    beside = float((places - sensors.mean(0))[:, :2].abs().max())
    assert beside <= ranges.around * 40 + 0.01
    assert (beside > 10) == (ranges.around > 0)


def eyes_of_rig(rig):
    return torch.linalg.inv(rig.ref2cam)[:, :3, 3]


def test_the_released_surroundocc_camera_is_the_sensor_two_metres_up():
    """Its two random terms are 0 on a symmetric grid."""
    scene = make_scene()
    raised = CameraViews(
        strategy=dict(type='MoveCamera', height=(2, 2)), count=6
    )
    views = raised(scene, torch.Generator().manual_seed(0))
    for view in views.cameras.viewmats:
        errors = [
            (view - sensor).abs().max() for sensor in _two_metres_up(scene)
        ]
        assert float(min(errors)) < 1e-5


def _two_metres_up(scene):
    """In camera axes the translation grows by (0, 2, 0): y is down."""
    matrices = scene.rig.ref2cam.clone()
    matrices[:, 1, 3] += 2
    return matrices


def test_dynamic_looks_at_the_worst_voxel():
    scene = make_scene()
    scene.error[70:73, 40:43, 1:4] = 1.0
    scene.error[10, 10, 5] = 3.0  # alone: less than the region
    target = GRID.centers()[71, 41, 2]
    sampler = CameraViews(strategy='dynamic', min_occupied=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        views = sampler(scene, generator)
        aim = torch.nn.functional.normalize(target - eyes(views)[0], dim=0)
        torch.testing.assert_close(
            directions(views)[0], aim, atol=1e-5, rtol=0
        )


def test_a_view_of_nothing_is_drawn_again():
    scene = make_scene()
    # all there is to see lies far ahead
    scene.occupied = torch.tensor([[30.0, 0, 0]]).repeat(50, 1)
    sampler = CameraViews(
        strategy='random', count=1, min_occupied=20, tries=200
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        views = sampler(scene, generator)
        local = views.cameras.viewmats[0, :3, :3] @ scene.occupied[0]
        local = local + views.cameras.viewmats[0, :3, 3]
        pixel = views.cameras.Ks[0] @ local
        assert float(pixel[2]) > 0
        assert 0 < float(pixel[0] / pixel[2]) < 100
        assert 0 < float(pixel[1] / pixel[2]) < 56
    # where there is nothing at all, the sensor's own view
    scene.occupied = torch.empty(0, 3)
    views = sampler(scene, generator)
    assert float(torch.cdist(eyes(views), eyes_of_rig(scene.rig)).min()) == 0


def test_draws_follow_the_generator_and_the_weights():
    scene = make_scene()
    sampler = CameraViews(strategy='elevated')
    same = [
        sampler(scene, torch.Generator().manual_seed(3)).cameras.viewmats
        for _ in range(2)
    ]
    assert torch.equal(*same)
    other = sampler(scene, torch.Generator().manual_seed(4)).cameras.viewmats
    assert not torch.equal(same[0], other)
    sampler = CameraViews(strategy='sensor', camera_weights=(0, 0, 1, 0, 0, 0))
    views = sampler(scene, torch.Generator())
    assert torch.equal(views.cameras.viewmats[0], scene.rig.ref2cam[2])
    six = CameraViews(strategy='sensor', count=6)
    drawn = six(scene, torch.Generator().manual_seed(0)).cameras.viewmats
    assert len({tuple(v.flatten().tolist()) for v in drawn}) == 6


def project(views, point):
    local = views.cameras.viewmats[0, :3, :3] @ torch.tensor(point)
    local = local + views.cameras.viewmats[0, :3, 3]
    u, v, _ = views.cameras.Ks[0] @ torch.cat((local[:2], torch.ones(1)))
    return float(u), float(v), float(local[2])


def test_the_plane_from_above():
    views = PlaneView()(make_scene(), None)
    assert (views.cameras.width, views.cameras.height) == (100, 100)
    assert views.cameras.camera_model == 'ortho' and rigid(
        views.cameras.viewmats[0]
    )
    # forward is right, left is up, a metre above the grid is depth 0
    assert project(views, (0.0, 0, 5.4)) == pytest.approx((50, 50, 1))
    assert project(views, (39.6, 0, 0)) == pytest.approx((99.5, 50, 6.4))
    assert project(views, (0.0, 39.6, -1)) == pytest.approx((50, 0.5, 7.4))
    double = PlaneView(pixels_per_voxel=2)(make_scene(), None)
    assert (double.cameras.width, double.cameras.height) == (200, 200)
    assert project(double, (39.6, 0, 0))[:2] == pytest.approx((199, 100))


@pytest.mark.parametrize(
    'axis, point, expected',
    [
        # from +x: right is +y; from +y: right is -x; up is up
        ('x', (0.0, 39.6, 5.0), (99.5, 0.5, 41)),
        ('y', (39.6, 0.0, 5.0), (0.5, 0.5, 41)),
        ('y', (-39.6, 20.0, -0.6), (99.5, 7.5, 21)),
    ],
)
def test_the_plane_from_the_sides(axis, point, expected):
    views = PlaneView(axis=axis)(make_scene(), None)
    assert (views.cameras.width, views.cameras.height) == (100, 8)
    assert rigid(views.cameras.viewmats[0])
    assert float(torch.linalg.det(views.cameras.viewmats[0, :3, :3])) > 0
    assert project(views, point) == pytest.approx(expected, abs=1e-3)


def test_the_released_view_from_above():
    """u = cx + 400 x / (H - z), v = cy - 400 y / (H - z), H = extent."""
    views = PinholeFromAbove()(make_scene(SURROUNDOCC), None)

    def pixel(point):
        local = views.cameras.viewmats[0, :3, :3] @ torch.tensor(point)
        u, v, z = views.cameras.Ks[0] @ (
            local + views.cameras.viewmats[0, :3, 3]
        )
        return float(u / z), float(v / z)

    assert pixel((50.0, 0, 0)) == pytest.approx((400, 200))
    assert pixel((0.0, 50, 0)) == pytest.approx((200, 0))
    views = PinholeFromAbove()(make_scene(GRID), None)
    assert pixel((40.0, 0, 5.4)) == pytest.approx((414.5, 200), abs=0.05)


@pytest.mark.parametrize(
    'build, message',
    [
        (lambda: CameraViews(strategy='orbit'), "'sensor'.*'orbit'"),
        (lambda: CameraViews(count=0), 'at least 1, got 0'),
        (lambda: PlaneView(axis='w'), "'x', 'y', 'z', got 'w'"),
        (
            lambda: CameraViews(camera_weights=(1, 2))(
                make_scene(), torch.Generator()
            ),
            'expected 6.*got 2',
        ),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
