"""A scene as a film that takes the time of the drive: all that a car sees.

Shape letters: N cameras, H W image, X Y Z voxels.
"""

from __future__ import annotations

from typing import Iterator, Sequence

import numpy as np

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

from .bev import BevMap, bev_image
from .colors import nothing_shown
from .film import (
    PLACES,
    FilmFrame,
    camera_headings,
    centred,
    sample_volumes,
    shrunk,
    turning_film,
)
from .heading import reach
from .sample_sheet import camera_names
from .sheet import Panel, with_note

#: pictures of each key frame, whatever their number
PER_KEY_FRAME = 8
#: seconds that a key frame stands for where there is no other
_ALONE = 0.5
#: pixels of the whole picture, and of the volumes in it
_WIDTH, _HEIGHT = 1600, 340


def drive_frame(
    sample: OccDataSample,
    images: Sequence[np.ndarray],  # N of (H, W, 3)
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
    names: Sequence[str],
    title: str = '',
) -> FilmFrame:
    """All cameras, prediction and truth, and both from above.

    Cameras that look ahead are in the upper row, the others below, each
    row from left to right as the car has them. The views from above have
    arrows where there is flow.

    Args:
        sample, images, spec, rig, names, title: see ``film_frame``; the
            sample may have flow.

    Raises:
        ValueError: when cameras, images and names differ in number, or
            the sample holds neither volume.
    """
    names = camera_names(names, images, rig)
    ahead, left = camera_headings(rig, spec.frame)
    front: list[Panel] = []
    back: list[Panel] = []
    for n in np.argsort(-left, kind='stable'):
        image = shrunk(images[n], _WIDTH // PLACES)
        (front if ahead[n] >= 0 else back).append((names[n], image))
    rows = [row for row in (front, back) if row]
    places = max(PLACES, *map(len, rows))
    volumes = sample_volumes(sample)
    above = []
    for title_of, occ in volumes.items():
        key = 'pred_flow' if title_of == 'prediction' else 'gt_flow'
        flow = sample.get(key)
        flow = None if flow is None else flow.cpu().numpy()
        above.append((f'{title_of} from above', _bev(occ, flow, spec)))
    return FilmFrame(
        volumes, [centred(row, places) for row in rows], above, title
    )


def drive_film(
    frames: Sequence[FilmFrame], spec: LabelSpec
) -> Iterator[np.ndarray]:
    """``scene_film`` with ``PER_KEY_FRAME`` pictures of each key frame.

    Args:
        frames: of ``drive_frame``, in time order.
        spec: the label set.

    Returns:
        Iterator: RGB pictures, uint8 (H, 1600, 3), drawn one by one.

    Raises:
        ValueError: as ``scene_film``.
    """
    return turning_film(frames, spec, PER_KEY_FRAME, _WIDTH, _HEIGHT)


def drive_fps(timestamps: Sequence[float]) -> float:
    """Pictures per second at which ``drive_film`` takes the drive's time.

    Each key frame stands for the mean time between two of them.

    Args:
        timestamps: of the key frames in seconds.
    """
    if len(timestamps) == 1:
        return PER_KEY_FRAME / _ALONE
    seconds = timestamps[-1] - timestamps[0]
    return PER_KEY_FRAME * (len(timestamps) - 1) / seconds


def _bev(
    occ: np.ndarray,  # (X, Y, Z)
    flow: np.ndarray | None,  # (X, Y, Z, 2)
    spec: LabelSpec,
) -> np.ndarray:
    """A volume from above, as high as those that turn."""
    grid = VoxelGrid(spec.grid.range, occ.shape)
    (behind, _), (ahead, _) = reach(grid, spec.frame)
    view = BevMap(grid, _HEIGHT / (ahead - behind), spec.frame)
    image = bev_image(occ, spec, view, flow=flow)
    return with_note(image, nothing_shown(occ, spec))
