"""The viewer's page holds what it was given, and needs nothing else."""

import base64
import fnmatch
import io
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import setuptools
import torch
from PIL import Image
from viewer_page import (
    CAR,
    SPEC,
    TRUCK,
    boxes,
    frame,
    photos,
    read_page,
    sample,
    two_cameras,
)

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)
from occsplat.visualization import Boxes, chase_rig, viewer
from occsplat.visualization.viewer import viewer_frame, write_viewer
from occsplat.visualization.viewer.frame import (
    IMAGE_DEPTH,
    camera_frusta,
    moving_columns,
)
from occsplat.visualization.viewer.page import scene_content

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp('viewer') / 'page.html'
    title = '</script><b>"one" & two'
    return write_viewer(path, [frame(0), frame(2, title=title)], SPEC)


def test_the_page_holds_the_arrays(page):
    scene, frames = read_page(page)
    assert [f['title'] for f in frames] == [
        'a frame',
        '</script><b>"one" & two',
    ]
    for step, content in zip((0, 2), frames):
        arrays, given = content['arrays'], sample(step)
        assert np.array_equal(arrays['prediction'], given.pred_occ)
        assert np.array_equal(arrays['truth'], given.gt_occ)
        assert np.array_equal(arrays['visible'], given.gt_visible)
        for name, array in frame(step).arrays.items():
            assert arrays[name].dtype == array.dtype, name
            assert np.array_equal(arrays[name], array), name
        assert content['cameras'] == ['front', 'left']
    assert scene['palette'][CAR] == list(SPEC.palette[CAR])
    assert scene['occupied'] == list(SPEC.occupied)
    assert SPEC.free not in scene['occupied']


def test_pictures_are_images_of_the_cameras(page):
    _, (first, _) = read_page(page)
    assert set(first['pictures']) == {'photo', 'prediction', 'truth'}
    for kind, pictures in first['pictures'].items():
        assert len(pictures) == 2
        head, text = pictures[0].split(',')
        assert head == (
            f'data:image/{"jpeg" if kind == "photo" else "png"};base64'
        )
        image = Image.open(io.BytesIO(base64.b64decode(text)))
        assert image.size == ((80, 44) if kind == 'photo' else (320, 176))
        if kind != 'photo':
            # the block ahead is a car in the one and a truck in the other
            label = TRUCK if kind == 'prediction' else CAR
            colors = np.array(image).reshape(-1, 3)
            assert (colors == SPEC.palette[label]).all(axis=1).any()
            other = CAR if kind == 'prediction' else TRUCK
            assert not (colors == SPEC.palette[other]).all(axis=1).any()


def test_a_frame_without_a_prediction_is_truth_alone(tmp_path):
    path = write_viewer(tmp_path / 'a.html', [frame(prediction=False)], SPEC)
    _, (content,) = read_page(path)
    assert not [name for name in content['arrays'] if 'prediction' in name]
    assert set(content['pictures']) == {'photo', 'truth'}


def test_frusta_end_at_the_corners_of_the_images():
    rig = two_cameras()
    aug = torch.tensor([[0.5, 0, 3], [0, 0.5, -2], [0, 0, 1.0]])
    rig = CameraRig(rig.ref2cam, rig.K, aug.expand(2, 3, 3), 40, 20)
    frusta = torch.from_numpy(camera_frusta(rig))
    centre = frusta[:, 0]
    assert torch.allclose(centre, rig.cam2ref[:, :3, 3], atol=1e-5)
    corners = torch.tensor([[0.0, 0], [40, 0], [40, 20], [0, 20]])
    for n in range(2):
        uv, depth = rig[n : n + 1].project(frusta[n, 1:])
        assert torch.allclose(uv[0], corners, atol=1e-4)
        assert torch.allclose(depth[0], torch.tensor(IMAGE_DEPTH), atol=1e-5)


def test_flow_of_columns_that_move():
    grid = VoxelGrid((-2, -2, 0, 2, 2, 4), (4, 4, 4))
    occ = np.full((4, 4, 4), SPEC.free, np.uint8)
    flow = np.zeros((4, 4, 4, 2), np.float32)
    occ[1, 2, :2] = CAR  # moves on top, stands still below
    flow[1, 2, 1] = (3.0, -1.0)
    occ[0, 0, 0] = CAR  # stands still
    occ[3, 3, 1] = SPEC.classes.index('manmade')  # can't move
    flow[3, 3, 1] = 5.0
    occ[2, 0, 0] = CAR
    flow[2, 0, 0] = np.nan  # unknown
    rows = moving_columns(occ, flow, SPEC, grid)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[-0.5, 0.5, 2.0, 3.0, -1.0]]
    with pytest.raises(ValueError, match=r'flow.*\(4, 4, 4, 2\)'):
        moving_columns(occ, flow[..., 0], SPEC, grid)


def test_boxes_of_the_volume_and_points_to_the_centimetre():
    points = np.array([[1.234, -5.678, 0.0049], [400.0, 0, 0], [0, 0, -2]])
    arrays = viewer_frame(
        sample(0), photos(), SPEC, two_cameras(), points, boxes()
    ).arrays
    assert np.array_equal(
        arrays['boxes'], boxes().corners[:1].astype(np.float32)
    )
    assert arrays['box_colors'].tolist() == [list(SPEC.palette[CAR])]
    # the far one does not fit
    assert arrays['points'].tolist() == [[123, -568, 0], [0, 0, -200]]


class Links(HTMLParser):
    """What a browser would fetch for the elements of a page."""

    found: list

    def handle_starttag(self, tag, attrs):
        loads = {'src', 'href', 'data', 'srcset', 'poster', 'action'}
        self.found += [(tag, k, v) for k, v in attrs if k in loads]
        self.found += [(tag, None, None)] * (tag in ('link', 'iframe', 'base'))


def test_a_page_needs_no_network(page):
    text = page.read_text(encoding='utf-8')
    links = Links()
    links.found = []
    links.feed(text)
    assert links.found == []
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert "default-src 'none'" in policy and 'http' not in policy
    assert re.findall('@import|url\\(', viewer.page._read('page.css')) == []
    # a name space of XML in three.js, which is a name and no place
    assert set(re.findall(r'https?://[\w./-]+', text)) == {
        'http://www.w3.org/1999/xhtml'
    }
    for name in ('data.js', 'world.js', 'page.js', 'three.js', 'page.css'):
        assert viewer.page._read(name)[-200:] in text


@pytest.mark.parametrize('name', ['openocc', 'surroundocc'])
def test_the_view_begins_behind_and_above_the_car(name):
    spec = LabelSpec.named(name)
    scene = scene_content(spec)
    rig = chase_rig(frame=spec.frame)
    target = torch.tensor(scene['target'], dtype=torch.float64)
    uv, depth = rig.project(target[None])
    # in the middle of the picture that sheets have
    assert torch.allclose(uv[0, 0], torch.tensor([320.0, 200]).double())
    assert depth > 20 and abs(target[2] - scene['car']['ground']) < 1e-9
    ahead = np.dot(scene['eye'][:2], scene['forward'])
    assert ahead == pytest.approx(-26) and abs(scene['eye'][2] - 19) < 1e-9


def test_what_can_not_be_shown(tmp_path):
    path = tmp_path / 'a.html'
    with pytest.raises(ValueError, match='at least one frame'):
        write_viewer(path, [], SPEC)
    assert list(tmp_path.iterdir()) == []
    nothing = (two_cameras(), np.zeros((0, 3)), boxes())
    with pytest.raises(ValueError, match='needs pred_occ or gt_occ'):
        viewer_frame(OccDataSample(), photos(), SPEC, *nothing)
    with pytest.raises(ValueError, match='got 3 images'):
        viewer_frame(sample(0), photos(3), SPEC, *nothing)


def test_nothing_around_and_no_camera_to_speak_of(tmp_path):
    """No box, no point, nothing that moves."""
    still = sample(0)
    still.pred_flow *= 0
    none = Boxes.from_arrays(np.zeros((0, 7)), np.zeros(0, int), SPEC)
    empty = viewer_frame(
        still, photos(), SPEC, two_cameras(), np.zeros((0, 3)), none
    )
    _, (content,) = read_page(write_viewer(tmp_path / 'a.html', [empty], SPEC))
    shapes = {k: v.shape for k, v in content['arrays'].items()}
    assert shapes['boxes'] == (0, 8, 3) and shapes['points'] == (0, 3)
    assert shapes['prediction_flow'] == (0, 5)


def test_a_wheel_has_what_the_page_is_made_of(monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, 'setup', given.update)
    runpy.run_path(str(ROOT / 'setup.py'))
    folder = Path(viewer.__file__).parent
    name = viewer.__name__
    assert name in given['packages']
    patterns = given['package_data'][name]
    others = [p.name for p in folder.iterdir() if p.suffix != '.py']
    for other in set(others) - {'__pycache__'}:
        assert any(fnmatch.fnmatch(other, p) for p in patterns), other


def test_three_js_comes_with_its_licence():
    head = viewer.page._read('three.js')[:1500]
    assert re.match(r'/\*! three\.js \d+\.\d+\.\d+\n\nThe MIT License', head)
    assert 'Permission is hereby granted' in head
