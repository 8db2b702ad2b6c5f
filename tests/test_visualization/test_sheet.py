"""Sheets, and pictures on disk."""

import numpy as np
import pytest
import torch
from PIL import Image

from occsplat.structures import (
    CameraRig,
    DataError,
    LabelSpec,
    OccDataSample,
)
from occsplat.visualization import (
    Boxes,
    chase_rig,
    contact_sheet,
    frame_sheet,
    legend,
    sample_sheet,
    save_sample_sheet,
    sheet,
    write_gif,
    write_png,
)
from occsplat.visualization.colors import OTHER

SPEC = LabelSpec.named('openocc')
RED = np.full((30, 60, 3), (200, 0, 0), dtype=np.uint8)
BLUE = np.full((30, 30, 3), (0, 0, 200), dtype=np.uint8)


def sample(keys: tuple[str, ...]) -> OccDataSample:
    occ = torch.full((50, 50, 4), SPEC.free, dtype=torch.uint8)
    occ[:, :, 0] = SPEC.classes.index('terrain')
    occ[35:38, 24:26, 1] = SPEC.classes.index('car')
    out = OccDataSample()
    for key in keys:
        value = torch.zeros(50, 50, 4, 2) if 'flow' in key else occ
        setattr(out, key, value)
    return out


def two_cameras() -> CameraRig:
    rigs = [chase_rig(80, 48), chase_rig(80, 48, eye=(20.0, 0.0, 9.0))]
    return CameraRig.stack([rig[0] for rig in rigs])


def photos() -> list[np.ndarray]:
    return [np.full((48, 80, 3), 90, dtype=np.uint8)] * 2


def test_sheet_rows_fill_the_width_at_one_height():
    sheet = contact_sheet([[('', RED), ('', BLUE)], [('', BLUE)]], width=318)
    # 300 pixels for 2:1 and 1:1 pictures: 200 and 100 wide, 100 high
    assert sheet.shape == (6 + 100 + 6 + 306 + 6, 318, 3)
    assert (sheet[6:106, 6:206] == RED[0, 0]).all()
    assert (sheet[6:106, 212:312] == BLUE[0, 0]).all()
    assert (sheet[112:418, 6:312] == BLUE[0, 0]).all()


def test_titles_and_legend_are_legible():
    plain = contact_sheet([[('', RED)]], width=300)
    titled = contact_sheet([[('front', RED)]], width=300)
    assert titled.shape == plain.shape
    changed = (titled != plain).any(axis=-1)
    assert changed.any() and not changed[60:, 150:].any()
    assert titled[6:30, 6:70].max() > 200  # bright letters
    with_legend = contact_sheet([[('', RED)]], width=300, spec=SPEC)
    assert len(with_legend) > len(plain) + 100  # wrapped
    foot = legend(SPEC, 900)
    for number in SPEC.occupied:
        assert (foot == SPEC.palette[number]).all(axis=-1).sum() > 100
    with pytest.raises(ValueError, match='at least one'):
        contact_sheet([])


@pytest.mark.parametrize('name', ['openocc', 'occ3d', 'surroundocc'])
def test_the_legend_has_the_colours_of_the_label_set(name, tmp_path):
    spec = LabelSpec.named(name)
    foot = legend(spec, 1200, others=('animal', 'debris'))
    path = write_png(tmp_path / 'legend.png', foot)
    with Image.open(path) as image:
        assert image.mode == 'RGB'
        written = np.array(image)
    swatches = 19 * 19
    for number in spec.occupied:
        count = (written == spec.palette[number]).all(axis=-1).sum()
        assert count == swatches, spec.classes[number]
    assert (written == OTHER).all(axis=-1).sum() == 2 * swatches
    plain = legend(spec, 1200)
    assert not (plain == OTHER).all(axis=-1).any()


@pytest.mark.parametrize('free', [True, False])
def test_an_empty_prediction_says_so(free, monkeypatch):
    notes = []
    monkeypatch.setattr(
        sheet, 'write', lambda image, text, *_: notes.append(text) or image
    )
    empty = sample(('pred_occ', 'gt_occ'))
    empty.pred_occ = torch.full_like(empty.gt_occ, SPEC.free)
    if not free:
        empty.pred_occ[0, 0, 0] = SPEC.ignore
    sample_sheet(empty, photos(), SPEC, two_cameras())
    text = 'all voxels are free' + ('' if free else ' or ignored')
    # both cameras, from above and from behind; the truth is not empty
    assert notes == 4 * [text]
    notes.clear()
    none = Boxes.from_instances([], np.eye(4), {}, SPEC)
    points = np.zeros((0, 3))
    frame_sheet(empty, photos(), two_cameras(), points, none, SPEC)
    assert notes == 2 * [f'prediction: {text}'] + 2 * [text]


def test_a_note_is_written_into_the_picture():
    image = np.zeros((300, 600, 3), np.uint8)
    assert sheet.with_note(image, '') is image
    noted = sheet.with_note(image, 'all voxels are free or ignored')
    rows, columns = np.nonzero(noted.max(axis=-1) > 200)
    assert len(rows) > 200 and columns.min() > 5 and columns.max() < 595
    assert 150 < rows.min() and rows.max() < 250


def test_categories_outside_the_set_are_in_the_legend():
    info = dict(bbox_3d=[4, 6, 0.5, 4, 2, 1.5, 0], bbox_label_3d=3)
    boxes = Boxes.from_instances([info], np.eye(4), dict(animal=3), SPEC)
    none = Boxes.from_instances([], np.eye(4), {}, SPEC)
    points = np.zeros((0, 3))
    with_animal, without = (
        frame_sheet(
            sample(('pred_occ',)), photos(), two_cameras(), points, b, SPEC
        )
        for b in (boxes, none)
    )
    foot = 80
    white = [
        (s[-foot:] == OTHER).all(-1).sum() for s in (with_animal, without)
    ]
    assert white == [19 * 19, 0]


def test_sample_sheet_shows_prediction_and_truth(tmp_path):
    keys = ('pred_occ', 'pred_flow', 'gt_occ', 'gt_flow')
    both = sample_sheet(sample(keys), photos(), SPEC, two_cameras())
    assert both.shape[1] == 1920
    with_own_rig = sample(('pred_occ',))
    with_own_rig.rig = two_cameras()[None]
    path = save_sample_sheet(
        with_own_rig, photos(), tmp_path / 'a' / 'b.png', SPEC, title='t'
    )
    with Image.open(path) as image:
        assert image.size[0] == 1920
        assert image.size[1] != both.shape[0]  # one row of views fewer
    with pytest.raises(ValueError, match='pred_occ or gt_occ'):
        sample_sheet(OccDataSample(), photos(), SPEC, two_cameras())
    with pytest.raises(ValueError, match='2 cameras, got 1 images'):
        sample_sheet(sample(keys), photos()[:1], SPEC, two_cameras())


def test_frame_sheet_blends_the_prediction_into_the_images():
    points = np.array([[10.0, 0.0, 0.0], [5.0, 3.0, 0.0]])
    none = Boxes.from_instances([], np.eye(4), {}, SPEC)
    sheet = frame_sheet(
        sample(('pred_occ',)), photos(), two_cameras(), points, none, SPEC
    )
    assert sheet.shape[1] == 1920
    # terrain is green, the photograph is grey
    blended = sheet[560, 480].astype(int)
    assert blended.argmax() == 1 and np.ptp(blended) > 20


def test_png_is_whole_or_absent(tmp_path, monkeypatch):
    path = write_png(tmp_path / 'new' / 'a.png', RED)
    assert np.array_equal(np.array(Image.open(path)), RED)
    before = path.read_bytes()

    def interrupted(self, target, **options):
        target.write_bytes(b'half a picture')
        raise OSError('disk full')

    monkeypatch.setattr(Image.Image, 'save', interrupted)
    with pytest.raises(DataError, match='a.png: disk full'):
        write_png(path, BLUE)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ['a.png']


def test_a_gif_keeps_the_colours_of_the_classes(tmp_path):
    """256 colours for a frame: bus, motorcycle and terrain became one."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 900, 3), np.uint8)
    foot = legend(SPEC, 900)
    frames = [np.concatenate([n, foot]) for n in (noise, noise[::-1])]
    path = write_gif(tmp_path / 'a.gif', frames, exact=SPEC.palette)
    with Image.open(path) as gif:
        for n in range(2):
            gif.seek(n)
            foot = np.array(gif.convert('RGB'))[400:]
            for number in SPEC.occupied:
                swatch = (foot == SPEC.palette[number]).all(axis=-1)
                assert swatch.sum() >= 19 * 19, SPEC.classes[number]


def test_gif_has_its_frames(tmp_path):
    frames = [np.roll(RED, 7 * n, axis=2) // (n + 1) for n in range(3)]
    path = write_gif(tmp_path / 'a.gif', frames, fps=4)
    with Image.open(path) as gif:
        assert gif.n_frames == 3
        assert gif.info['duration'] == 250 and gif.info['loop'] == 0
        for n, frame in enumerate(frames):
            gif.seek(n)
            shown = np.array(gif.convert('RGB')).astype(int)
            assert np.abs(shown - frame).max() < 8
    with pytest.raises(ValueError, match='one size'):
        write_gif(path, [RED, BLUE])
    with pytest.raises(ValueError, match='at least one'):
        write_gif(path, [])
