"""The viewer's page in a browser, without a screen.

Needs playwright (pip install playwright) and Chromium: the system's, or
what ``playwright install chromium`` brings.
"""

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from viewer_page import (
    CAR,
    ROAD,
    SPEC,
    TRUCK,
    WALL,
    frame,
    sample,
    surface,
    two_cameras,
)

from occsplat.structures import VoxelGrid
from occsplat.visualization.viewer import write_viewer

#: WebGL by the processor, and colours as they are
OPTIONS = (
    '--no-sandbox',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--force-color-profile=srgb',
)
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
SIZE = dict(width=900, height=700)


@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip(
        'playwright.sync_api',
        reason='needs playwright: pip install playwright',
    )
    with playwright.sync_playwright() as run:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        found = found or run.chromium.executable_path
        if not Path(found).is_file():
            pytest.skip('needs Chromium: playwright install chromium')
        browser = run.chromium.launch(executable_path=found, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp('viewer') / 'page.html'
    return write_viewer(path, [frame(0), frame(2, title='the next')], SPEC)


@pytest.fixture
def opened(browser):
    """A function from a file to its page; complaints fail the test."""
    complaints, pages = [], []

    def watch(file):
        page = browser.new_page(viewport=SIZE)
        pages.append(page)
        page.on('pageerror', lambda error: complaints.append(str(error)))
        page.on('console', lambda message: complaints.append(message.text))
        page.on('request', lambda request: requests.append(request.url))
        requests = []
        page.goto(file.as_uri())
        until(page, 'viewer.ready')
        page.wait_for_load_state()
        # data: URLs are in the file
        fetched = [url for url in requests if not url.startswith('data:')]
        assert fetched == [file.as_uri()]
        return page

    yield watch
    for page in pages:
        page.close()
    assert complaints == []


@pytest.fixture
def page(opened, path):
    return opened(path)


def canvas(page) -> np.ndarray:
    """What is in the canvas, RGB, uint8 (H, W, 3)."""
    data = page.evaluate(
        '() => { drawNow(); '
        'return document.querySelector("#canvas").toDataURL(); }'
    )
    raw = base64.b64decode(data.split(',')[1])
    return np.array(Image.open(io.BytesIO(raw)).convert('RGB'))


def until(page, expression):
    """Wait for what is true in the page, whose policy forbids ``eval``."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    pytest.fail(f'never true: {expression}')


def press(page, group, text):
    page.locator(f'#{group} button').get_by_text(text, exact=True).click()


def counts(page) -> dict:
    return page.evaluate('viewer.counts')


def has(picture, color, least=30) -> bool:
    """Whether so many pixels have a colour, up to its light."""
    lit = np.rint(np.array(color) * 0.96)
    near = np.abs(picture.astype(int) - lit).max(axis=-1) <= 8
    return bool(near.sum() >= least)


def kinds(step=0, seen=False) -> np.ndarray:
    """0 right, 1 wrong class, 2 invented, 3 missed; 255 none."""
    given = sample(step)
    p, t = given.pred_occ.numpy(), given.gt_occ.numpy()
    said, there = SPEC.is_occupied(p), SPEC.is_occupied(t)
    out = np.full(p.shape, 255, np.uint8)
    out[said & there] = np.where(p == t, 0, 1)[said & there]
    out[said & ~there], out[there & ~said] = 2, 3
    out[t == SPEC.ignore] = 255
    if seen:
        out[~given.gt_visible.numpy()] = 255
    return out


def test_it_draws_what_there_is(page):
    picture = canvas(page)
    left, right = np.split(picture, 2, axis=1)
    assert has(left, SPEC.palette[TRUCK]) and not has(left, SPEC.palette[CAR])
    assert has(right, SPEC.palette[CAR])
    assert not has(right, SPEC.palette[TRUCK])
    given = sample(0)
    assert counts(page) == dict(
        prediction=surface(SPEC.is_occupied(given.pred_occ.numpy())),
        truth=surface(SPEC.is_occupied(given.gt_occ.numpy())),
        difference=0,
    )
    names = page.locator('#panes div').all_inner_texts()
    assert names == ['prediction', 'truth']
    assert page.locator('#strip img').count() == 6
    assert page.locator('#classes i').count() == len(SPEC.occupied)


def test_the_slider_shows_the_next_frame(page):
    before = canvas(page)
    page.locator('#time').fill('1')
    until(page, 'viewer.state.frame === 1')
    assert page.locator('#title').inner_text() == 'the next'
    assert (canvas(page) != before).any()
    page.locator('#time').press('ArrowLeft')
    until(page, 'viewer.state.frame === 0')
    page.wait_for_timeout(300)  # photographs become textures
    assert np.array_equal(canvas(page), before)
    page.locator('#play').click()
    until(page, 'viewer.state.frame === 1')
    page.locator('#play').click()


@pytest.mark.parametrize(
    'text', ['flow arrows', 'boxes', 'LiDAR', 'cameras', 'this car']
)
def test_layers_come_and_go(page, text):
    before = canvas(page)
    press(page, 'layers', text)
    changed = (canvas(page) != before).any(axis=-1)
    assert changed.sum() > 20
    press(page, 'layers', text)
    assert np.array_equal(canvas(page), before)


def test_pictures_make_room(page):
    height = canvas(page).shape[0]
    press(page, 'layers', 'images')
    until(page, f'document.querySelector("#canvas").clientHeight > {height}')
    assert not page.locator('#strip').is_visible()


def test_hidden_classes_show_what_is_behind(page):
    truth = sample(0).gt_occ.numpy()
    for white in ('flow arrows', 'cameras', 'this car'):
        press(page, 'layers', white)
    assert has(canvas(page), SPEC.palette[WALL])
    press(page, 'classes', 'manmade')
    shown = SPEC.is_occupied(truth) & (truth != WALL)
    assert counts(page)['truth'] == surface(shown)
    assert not has(canvas(page), SPEC.palette[WALL])
    press(page, 'classes', 'none')
    assert counts(page) == dict(prediction=0, truth=0, difference=0)
    press(page, 'classes', 'driveable surface')
    assert counts(page)['truth'] == (truth == ROAD).sum()
    press(page, 'classes', 'all')
    assert counts(page)['truth'] == surface(SPEC.is_occupied(truth))


def test_the_difference(page):
    assert not page.locator('#kinds').is_visible()
    for name in ('difference', 'prediction', 'truth'):
        press(page, 'volumes', name)
    found = kinds()
    assert {0, 1, 2, 3} == set(np.unique(found)) - {255}
    assert counts(page)['difference'] == surface(found != 255)
    press(page, 'kinds', 'right')
    wrong = (found != 255) & (found != 0)
    assert counts(page)['difference'] == surface(wrong)
    # voxels that are there count by their own class
    press(page, 'classes', 'car')
    truth = sample(0).gt_occ.numpy()
    assert counts(page)['difference'] == surface(wrong & (truth != CAR))
    press(page, 'classes', 'car')
    press(page, 'layers', 'seen by a camera only')
    seen = kinds(seen=True)
    assert counts(page)['difference'] == surface((seen != 255) & (seen != 0))
    press(page, 'volumes', 'difference')
    assert counts(page)['difference'] == 0


def test_the_mouse_turns_zooms_and_moves(page):
    before, box = canvas(page), page.locator('#canvas').bounding_box()
    x, y = box['x'] + 200, box['y'] + 100
    pictures = [before]
    for button in ('left', 'right'):
        page.mouse.move(x, y)
        page.mouse.down(button=button)
        page.mouse.move(x + 60, y + 30, steps=3)
        page.mouse.up(button=button)
        pictures.append(canvas(page))
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(100)
    pictures.append(canvas(page))
    for one, other in zip(pictures, pictures[1:]):
        assert (one != other).any()
    page.locator('#reset').click()
    assert np.array_equal(canvas(page), before)


def test_a_finger_turns(page):
    before, box = canvas(page), page.locator('#canvas').bounding_box()
    session = page.context.new_cdp_session(page)
    x, y = box['x'] + 200, box['y'] + 100

    def touch(kind, *points):
        points = [dict(x=x + dx, y=y) for dx in points]
        session.send(
            'Input.dispatchTouchEvent', dict(type=kind, touchPoints=points)
        )

    touch('touchStart', 0)
    touch('touchMove', 40)
    touch('touchMove', 80)
    touch('touchEnd')
    assert (canvas(page) != before).any()


def test_it_looks_through_a_camera(page):
    """A voxel is where the camera's matrices say."""
    press(page, 'volumes', 'prediction')
    for layer in ('flow arrows', 'boxes'):
        press(page, 'layers', layer)
    page.locator('#strip img').first.click()
    page.wait_for_timeout(100)
    picture = canvas(page)
    grid = VoxelGrid(SPEC.grid.range, sample(0).gt_occ.shape)
    # the middle of the car's back, which faces the camera
    back = (
        grid.centers()[32, 24:27, 2:5]
        .mean(dim=(0, 1))
        .sub(grid.centers().new_tensor([grid.size[0] / 2, 0, 0]))
    )
    rig = two_cameras()
    uv, _ = rig.project(back[None])
    # images are as high as the canvas, and about its middle
    height, width = picture.shape[:2]
    scale = height / rig.height
    u = width / 2 + scale * (uv[0, 0, 0] - rig.width / 2)
    v = height / 2 + scale * (uv[0, 0, 1] - rig.height / 2)
    around = picture[int(v) - 1 : int(v) + 2, int(u) - 1 : int(u) + 2]
    # the face -x has 0.66 of the light
    assert has(around, 0.66 * np.array(SPEC.palette[CAR]), least=4)
    # and the car's own edge is where its corner is
    corner = grid.centers()[32, 24, 2] - 0.5 * grid.centers().new_tensor(
        grid.size
    )
    uv, _ = rig.project(corner[None])
    u = int(width / 2 + scale * (uv[0, 0, 0] - rig.width / 2))
    lit = 0.66 * 0.96 * np.array(SPEC.palette[CAR])
    row = picture[int(v)].astype(int)
    inside = np.abs(row[u - 12 : u - 4] - lit).max(axis=-1)
    outside = np.abs(row[u + 3 : u + 9] - lit).max(axis=-1)
    assert inside.min() <= 10 and outside.min() > 40


def test_the_picture_is_saved(page):
    with page.expect_download() as info:
        page.locator('#picture').click()
    download = info.value
    assert download.suggested_filename == 'occsplat_0.png'
    saved = np.array(Image.open(download.path()).convert('RGB'))
    assert saved.shape == canvas(page).shape
    assert has(saved, SPEC.palette[CAR]) and has(saved, SPEC.palette[TRUCK])


def test_truth_alone(opened, tmp_path):
    file = tmp_path / 'truth.html'
    page = opened(write_viewer(file, [frame(prediction=False)], SPEC))
    assert page.locator('#volumes button').all_inner_texts() == ['truth']
    assert page.locator('#strip img').count() == 4
    layers = page.locator('#layers button').all_inner_texts()
    assert 'seen by a camera only' not in layers and 'boxes' in layers
    assert has(canvas(page), SPEC.palette[CAR])


def test_a_browser_without_webgl_is_told(browser, path):
    page = browser.new_page(viewport=SIZE)
    page.add_init_script('HTMLCanvasElement.prototype.getContext = () => null')
    page.goto(path.as_uri())
    assert page.locator('#failure').inner_text().startswith('No WebGL 2: ')
    page.close()
