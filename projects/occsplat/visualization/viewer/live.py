"""The viewer while a network predicts: frame after frame, as it is asked.

Shape letters: X Y Z voxels, V surface voxels, N cameras.
"""

from __future__ import annotations

import importlib
import threading
from types import ModuleType
from typing import Any, Iterator

import numpy as np

from occsplat.structures import LabelSpec, MissingPackageError, VoxelGrid

from ..bev import ARROW_SECONDS
from ..boxes import EDGES
from ..colors import BACKGROUND, occupied_mask, volume_colors
from .frame import POINT_STEP, ViewerFrame
from .page import scene_content

#: corners of the unit cube, and its twelve triangles, seen from outside
_CORNERS = np.array(
    [[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
)
_TRIANGLES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ],
    np.uint32,
)  # fmt: skip
_WHITE, _PALE = (255, 255, 255), (255, 243, 176)


class LiveViewer:
    """A page that a browser shows while this process predicts.

    The first frame is drawn at once, each further one when somebody
    presses its button; the slider goes back to those that are there.

    Args:
        frames: in time order; the next one is asked for when it is to be
            shown.
        spec: the label set.
        port: of this machine's own address, which is all that it serves.
            The next free one where it is taken.

    Raises:
        MissingPackageError: when viser is not installed.
        ValueError: when there is no frame.
    """

    def __init__(
        self, frames: Iterator[ViewerFrame], spec: LabelSpec, port: int = 8080
    ) -> None:
        viser = _import()
        self.spec = spec
        self.shown: list[ViewerFrame] = []
        self._coming = iter(frames)
        self._turn, self._asked = threading.Lock(), threading.Event()
        first = next(self._coming, None)
        if first is None:
            raise ValueError('the viewer needs at least one frame, got none')
        self.shown.append(first)
        self.server = viser.ViserServer('127.0.0.1', port, verbose=False)
        scene = scene_content(spec)
        self.server.initial_camera.position = scene['eye']
        self.server.initial_camera.look_at = scene['target']
        self._light()
        self._add_buttons()
        self.show(0)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f'http://127.0.0.1:{self.server.get_port()}'

    def next_frame(self) -> bool:
        """Predict and show the next frame; False when there is none."""
        self._button.disabled = True
        frame = next(self._coming, None)
        if frame is None:
            self._button.label = 'no more frames'
            return False
        with self._turn:
            self.shown.append(frame)
            self._slider.max = len(self.shown) - 1
            self._slider.value = len(self.shown) - 1
            self.show(len(self.shown) - 1)
        self._button.disabled = False
        return True

    def show(self, number: int) -> None:
        """Draw a frame that has been predicted, in the chosen volume."""
        frame, scene = self.shown[number], self.server.scene
        name = self._volume.value
        with self.server.atomic():
            self._title.content = frame.title
            self._add_voxels(frame.arrays[name])
            self._add_cameras(frame)
            arrows = frame.arrays.get(f'{name}_flow', np.zeros((0, 5)))
            ends = arrows[:, :3].copy()
            ends[:, :2] += ARROW_SECONDS * arrows[:, 3:]
            scene.add_arrows(
                'flow', np.stack([arrows[:, :3], ends], axis=1), _WHITE,
                shaft_radius=0.05, head_radius=0.16, head_length=0.5,
            )  # fmt: skip
            edges = frame.arrays['boxes'][:, np.array(EDGES)]
            tints = frame.arrays['box_colors'][:, None, None]
            scene.add_line_segments(
                'boxes',
                edges.reshape(-1, 2, 3),
                np.broadcast_to(tints, edges.shape).reshape(-1, 2, 3),
                thickness=0.04,
            )
            scene.add_point_cloud(
                'LiDAR',
                frame.arrays['points'].astype(np.float32) * POINT_STEP,
                _PALE,
                point_size=0.06,
            )

    def run(self) -> None:
        """Predict frames as they are asked for, until the process ends.

        Here, and not in the server's threads: what goes wrong is raised.
        """
        while True:
            self._asked.wait()
            self._asked.clear()
            self.next_frame()

    def _light(self) -> None:
        """Colours of classes on dark, hardly changed by the light."""
        scene = self.server.scene
        background = np.full((1, 1, 3), BACKGROUND, np.uint8)
        scene.set_background_image(background, format='png')
        scene.configure_default_lights(False)
        scene.configure_environment_map(None)
        scene.add_light_ambient('light/all', intensity=0.9)
        scene.add_light_directional(
            'light/sun', intensity=1.1, position=(-1.0, 2.0, 3.0)
        )

    def _add_buttons(self) -> None:
        gui = self.server.gui
        self._title: Any = gui.add_markdown('')
        names = [
            name
            for name in ('prediction', 'truth')
            if name in self.shown[0].arrays
        ]
        self._volume: Any = gui.add_dropdown('volume', names)
        self._button: Any = gui.add_button('next frame')
        # a slider needs two ends
        self._slider: Any = gui.add_slider('frame', 0, 1, 1, 0)

        @self._button.on_click
        def _(_: Any) -> None:
            self._asked.set()

        @self._volume.on_update
        @self._slider.on_update
        def _(event: Any) -> None:
            # programs move the slider, too
            if event.client is not None:
                with self._turn:
                    self.show(min(self._slider.value, len(self.shown) - 1))

    def _add_voxels(self, occ: np.ndarray) -> None:
        grid = VoxelGrid(self.spec.grid.range, occ.shape)
        index = surface_voxels(occupied_mask(occ, self.spec))
        colors = volume_colors(occ, self.spec)[tuple(index.T)]
        self.server.scene.add_batched_meshes_simple(
            'voxels',
            _CORNERS * grid.size,
            _TRIANGLES,
            np.tile([1.0, 0, 0, 0], (len(index), 1)),
            (index + 0.5) * grid.size + grid.min,
            batched_colors=colors,
            lod='off',
            flat_shading=True,
        )

    def _add_cameras(self, frame: ViewerFrame) -> None:
        for n, (eye, a, b, _, d) in enumerate(frame.arrays['frusta']):
            right, down = b - a, d - a
            width, height = np.linalg.norm(right), np.linalg.norm(down)
            turn = np.stack([right / width, down / height], axis=-1)
            forward = np.cross(turn[:, 0], turn[:, 1])
            depth = (a - eye) @ forward
            self.server.scene.add_camera_frustum(
                f'cameras/{frame.cameras[n]}',
                2 * np.arctan(height / 2 / depth),
                width / height,
                scale=2.0,
                color=_WHITE,
                image=frame.pictures['photo'][n],
                wxyz=_quaternion(np.column_stack([turn, forward])),
                position=eye,
            )


def surface_voxels(shown: np.ndarray) -> np.ndarray:
    """Voxels with a face that no other covers.

    Args:
        shown: bool (X, Y, Z).

    Returns:
        ndarray: indices, int64 (V, 3).
    """
    padded = np.pad(shown, 1)
    covered = np.ones_like(shown)
    for axis in range(3):
        for shift in (-1, 1):
            covered &= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
    return np.argwhere(shown & ~covered)


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """w x y z of a rotation matrix (3, 3)."""
    return _import().transforms.SO3.from_matrix(rotation).wxyz


def _import() -> ModuleType:
    try:
        return importlib.import_module('viser')
    except ImportError as error:
        raise MissingPackageError(
            "--serve needs viser: run pip install 'occsplat[viser]', or "
            'write a page with --out'
        ) from error
