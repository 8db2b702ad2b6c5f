"""Frames of the viewer as one HTML file."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any, Iterable, Mapping

import numpy as np
from PIL import Image

from occsplat.structures import LabelSpec, whole_file

from ..bev import ARROW_SECONDS
from ..boxes import EDGES
from ..colors import BACKGROUND
from ..film import CAR, GROUND, ROOF
from ..heading import from_forward_left
from ..shading import LIGHT
from ..voxel_views import chase_rig
from .frame import POINT_STEP, ViewerFrame

#: what is put into page.html, where it is named
_PARTS = ('page.css', 'three.js', 'data.js', 'world.js', 'page.js')
#: where the frames come in the page
_FRAMES = '<!-- frames -->'
#: bytes that every array begins at a multiple of, for the browser's views
_ALIGNMENT = 8


def write_viewer(
    path: str | Path, frames: Iterable[ViewerFrame], spec: LabelSpec
) -> Path:
    """Write frames as a page that any browser with WebGL shows.

    It asks for no other file, and its content policy forbids it to.

    Args:
        path: the file, written whole or not at all.
        frames: in the order of the slider; drawn one after the other.
        spec: the label set of all.

    Returns:
        Path: where it is.

    Raises:
        ValueError: when there is no frame.
    """
    path = Path(path)
    head, tail = _template().split(_FRAMES)
    empty = True
    with whole_file(path) as part, open(part, 'w', encoding='utf-8') as file:
        file.write(head)
        file.write(_script('scene', scene_content(spec)))
        for frame in frames:
            file.write(_script('frame', frame_content(frame)))
            empty = False
        if empty:
            raise ValueError('the viewer needs at least one frame, got none')
        file.write(tail)
    return path


def scene_content(spec: LabelSpec) -> dict[str, Any]:
    """What all frames of a page share."""
    forward = from_forward_left(np.array([1.0, 0.0]), spec.frame)
    behind, ahead, side = CAR[spec.frame]
    chase = chase_rig(frame=spec.frame).cam2ref[0].numpy()
    eye, axis = chase[:3, 3], chase[:3, 2]
    # the camera turns about what it looks at: a point on the ground
    away = (eye[2] - GROUND[spec.frame]) / -axis[2]
    return dict(
        classes=[name.replace('_', ' ') for name in spec.classes],
        palette=spec.palette,
        occupied=spec.occupied,
        ignore=spec.ignore,
        range=spec.grid.range,
        background=BACKGROUND,
        # of the faces +x -x +y -y +z -z
        light=LIGHT[:, ::-1].reshape(-1).tolist(),
        eye=eye.tolist(),
        target=(eye + away * axis).tolist(),
        forward=forward.tolist(),
        car=dict(
            behind=behind,
            ahead=ahead,
            side=side,
            ground=GROUND[spec.frame],
            height=ROOF,
        ),
        box_edges=EDGES,
        arrow_seconds=ARROW_SECONDS,
        point_step=POINT_STEP,
    )


def frame_content(frame: ViewerFrame) -> dict[str, Any]:
    """A frame as JSON: texts, pictures as data URLs, packed arrays."""
    return dict(
        title=frame.title,
        cameras=list(frame.cameras),
        pictures={
            kind: [_data_url(image, kind == 'photo') for image in images]
            for kind, images in frame.pictures.items()
        },
        **pack_arrays(frame.arrays),
    )


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as text.

    Returns:
        dict: ``data``, the arrays' bytes one after the other, little
        endian, deflated (zlib) and in base64; and ``arrays``, by name the
        type, the shape and the place of the first byte.
    """
    described, parts, place = {}, [], 0
    for name, array in arrays.items():
        small = np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
        content = small.tobytes()
        content += bytes(-len(content) % _ALIGNMENT)
        described[name] = [array.dtype.name, list(array.shape), place]
        parts.append(content)
        place += len(content)
    deflated = zlib.compress(b''.join(parts), level=9)
    return dict(
        arrays=described, data=base64.b64encode(deflated).decode('ascii')
    )


def _data_url(image: np.ndarray, photo: bool) -> str:
    """An RGB image as JPEG (a photograph) or PNG (colours of classes)."""
    kind, options = ('PNG', dict(optimize=True))
    if photo:
        kind, options = ('JPEG', dict(quality=82))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    text = base64.b64encode(buffer.getvalue()).decode('ascii')
    return f'data:image/{kind.lower()};base64,{text}'


def _script(kind: str, content: Mapping[str, Any]) -> str:
    # a text in it must not end the element
    text = json.dumps(content).replace('<', '\\u003c')
    return f'<script type="application/json" class="{kind}">{text}</script>\n'


def _template() -> str:
    """The page with style and programs put in, but without frames."""
    page = _read('page.html')
    for name in _PARTS:
        page = page.replace(f'/* {name} */', _read(name))
    return page


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding='utf-8')
