"""The live viewer shows the next frame when it is asked for."""

import sys
import threading
import time

import numpy as np
import pytest
from viewer_page import (
    CAR,
    SPEC,
    frame,
    sample,
    surface,
    two_cameras,
    volume,
)

from occsplat.structures import MissingPackageError
from occsplat.visualization.viewer import LiveViewer
from occsplat.visualization.viewer.live import surface_voxels


@pytest.fixture
def live():
    pytest.importorskip('viser', reason="needs viser: pip install '.[viser]'")
    made = []

    def coming():
        for step in (0, 2):
            made.append(step)
            yield frame(step, title=f'step {step}')

    viewer = LiveViewer(coming(), SPEC)
    viewer.made = made
    yield viewer
    viewer.server.stop()


def node(live, name):
    return live.server.scene.get_handle_by_name(name)


def test_surface_voxels():
    shown = volume((CAR, 10, 10)).numpy() != SPEC.free
    index = surface_voxels(shown)
    assert len(index) == surface(shown) < shown.sum()
    assert shown[tuple(index.T)].all()
    cube = np.ones((3, 3, 3), bool)
    index = surface_voxels(cube).tolist()
    assert len(index) == 26 and [1, 1, 1] not in index


def test_frames_are_predicted_when_they_are_asked_for(live):
    assert live.made == [0] and live._title.content == 'step 0'
    assert live.address.startswith('http://127.0.0.1:')
    assert live.next_frame()
    assert live.made == [0, 2] and live._title.content == 'step 2'
    assert live._slider.value == live._slider.max == 1
    assert not live.next_frame()
    assert live._button.disabled and len(live.shown) == 2
    live.show(0)
    assert live._title.content == 'step 0'


def test_the_button_makes_the_process_predict(live):
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    for press in live._button._impl.update_cb:
        press(None)
    for _ in range(100):
        if live._title.content == 'step 2':
            break
        time.sleep(0.1)
    assert live.made == [0, 2]


def test_voxels_are_where_the_grid_has_them(live):
    live._volume.value = 'truth'
    live.show(0)
    truth = sample(0).gt_occ.numpy()
    index = surface_voxels(SPEC.is_occupied(truth))
    low, size = np.array(SPEC.grid.min), 80 / 50
    cubes = node(live, 'voxels')
    positions = np.asarray(cubes.batched_positions)
    assert np.allclose(
        positions[:, :2], low[:2] + (index[:, :2] + 0.5) * size, atol=1e-4
    )
    car = truth[tuple(index.T)] == CAR
    colors = np.asarray(cubes.batched_colors)
    assert (colors[car] == SPEC.palette[CAR]).all()
    assert not (colors[~car] == SPEC.palette[CAR]).all(axis=1).any()


def test_cameras_stand_where_the_rig_has_them(live):
    rig = two_cameras()
    for n, name in enumerate(('front', 'left')):
        camera = node(live, f'cameras/{name}')
        cam2ref = rig.cam2ref[n].numpy()
        assert np.allclose(camera.position, cam2ref[:3, 3], atol=1e-5)
        w, x, y, z = camera.wxyz
        # the camera's z axis, turned
        ahead = [
            2 * (x * z + w * y),
            2 * (y * z - w * x),
            1 - 2 * (x**2 + y**2),
        ]
        assert np.allclose(ahead, cam2ref[:3, 2], atol=1e-5)
        assert camera.aspect == pytest.approx(80 / 44, abs=1e-5)
        # 44 pixels at a focal length of 60
        assert camera.fov == pytest.approx(2 * np.arctan(22 / 60), abs=1e-5)


def test_no_frame():
    pytest.importorskip('viser', reason="needs viser: pip install '.[viser]'")
    with pytest.raises(ValueError, match='at least one frame'):
        LiveViewer(iter([]), SPEC)


def test_without_viser(monkeypatch):
    monkeypatch.setitem(sys.modules, 'viser', None)
    with pytest.raises(MissingPackageError, match=r"'occsplat\[viser\]'"):
        LiveViewer(iter([frame()]), SPEC)
