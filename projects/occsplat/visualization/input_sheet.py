"""What a network is fed with, on one sheet.

Everything is drawn through the sample's own cameras and in its own frame, so
that an augmentation that has forgotten one of images, cameras, depths,
labels or neighbours shows at once.

Shape letters: T frames, N cameras, P points, X Y Z voxels, H W image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccDataSample,
    VoxelGrid,
)

from .bev import BevMap, bev_image, draw_lines_bev, draw_points_bev
from .camera_overlays import draw_lidar, draw_lines, draw_points, overlay
from .colors import BACKGROUND, flow_key, volume_colors
from .heading import reach
from .lettering import PAPER
from .sample_sheet import camera_names
from .sheet import Panel, contact_sheet
from .voxel_views import cast_views, chase_rig, render_occupancy

#: pixels of an image, of one of an earlier frame, and of views from above
_WIDTH, _SMALL, _ABOVE = 640, 320, 640
#: metres in front of its camera at which a drawn frustum ends
_FRUSTUM = 3.0
#: metres from a camera within which frusta only cover its image
_OWN = 2.0
#: colours of the frusta: cameras of the images, and those of render losses
_CAMERA, _VIEW = (255, 255, 255), (255, 90, 160)
#: of returns without a class
_UNKNOWN = (200, 200, 200)


@dataclass
class _Returns:
    """LiDAR returns.

    Attributes:
        points: metres in the reference frame, (P, 3).
        colors: RGB, uint8 (P, 3).
        camera: whose image they are of, -1: of another key frame, (P,).
    """

    points: np.ndarray
    colors: np.ndarray
    camera: np.ndarray

    def seen_by(
        self, rig: CameraRig
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Pixels, depths and colours in each camera, in turn."""
        for n in range(rig.num_cameras):
            mine = (self.camera == n) | (self.camera == -1)
            points = torch.from_numpy(self.points[mine])
            uv, depth = rig[n : n + 1].project(points)
            yield uv[0].numpy(), depth[0].numpy(), self.colors[mine]


def input_sheet(
    imgs: Tensor,  # (T, N, 3, H, W)
    sample: OccDataSample,
    spec: LabelSpec,
    names: Sequence[str] = (),
    title: str = '',
) -> np.ndarray:
    """Images of a packed sample with everything that belongs to them.

    For every three cameras a row of images with the labelled voxels and the
    frusta of the render views in them, one with LiDAR depths, and one with
    the classes of LiDAR returns; a row for the images of each further
    frame; and views from above, of labels and of LiDAR returns with all
    frusta, and from behind. Rows of what the sample does not have are left
    out.

    Args:
        imgs: the network's input, RGB, uint8.
        sample: with ``rig`` and any of ``gt_occ``, ``gt_flow``,
            ``gt_depth``, ``gt_pixel_semantics``, ``pixel_labels`` and
            ``render_rig``.
        spec: the label set.
        names: the cameras' names.
        title: a line above everything.

    Returns:
        ndarray: RGB, uint8 (H, 1920, 3).

    Raises:
        ValueError: when cameras and images differ in number.
    """
    images = imgs.permute(0, 1, 3, 4, 2).contiguous().numpy()
    rig = sample.rig.to('cpu', torch.float64)
    names = camera_names(names, list(images[0]), rig[0])
    depths, classes = _depths(sample), _classes(sample, spec)
    rows: list[list[Panel]] = []
    strips = [
        _with_voxels(images[0], sample, spec, rig[0], _WIDTH),
        _with_depths(images[0], depths or classes, rig[0]),
        _with_classes(images[0], classes, rig[0]),
    ]
    kinds = ('labels', 'LiDAR depth', 'LiDAR classes')
    if strips[0] is None:
        strips[0], kinds = list(images[0]), ('image', *kinds[1:])
    for start in range(0, len(names), 3):
        part = slice(start, start + 3)
        rows += [
            [
                (f'{name}: {kind}', picture)
                for name, picture in zip(names[part], strip[part])
            ]
            for kind, strip in zip(kinds, strips)
            if strip is not None
        ]
    for t in range(1, len(images)):
        strip = _with_voxels(images[t], sample, spec, rig[t], _SMALL)
        strip = list(images[t]) if strip is None else strip
        rows.append([(f'frame {t}: {n}', p) for n, p in zip(names, strip)])
    rows.append(_from_above(sample, spec, rig[0], classes or depths))
    return contact_sheet(
        rows,
        title=title,
        spec=spec,
        key=flow_key() if 'gt_flow' in sample else None,
    )


def _volume(
    sample: OccDataSample, spec: LabelSpec
) -> tuple[np.ndarray | None, VoxelGrid]:
    """Labels (X, Y, Z), and where they are."""
    if 'gt_occ' not in sample:
        return None, spec.grid
    occ = sample.gt_occ.numpy()
    return occ, VoxelGrid(spec.grid.range, occ.shape)


def _with_voxels(
    images: np.ndarray,  # (N, H, W, 3)
    sample: OccDataSample,
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
    width: int,
) -> list[np.ndarray] | None:
    """Images with the voxels blended in, and the render views' frusta."""
    occ, grid = _volume(sample, spec)
    if occ is None:
        return None
    small = rig.scaled(width / rig.width)
    size = small.width, small.height
    voxels = render_occupancy(occ, grid, spec, small)
    masks = cast_views(occ, grid, spec, small).mask
    pictures = []
    for n, image in enumerate(images):
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = overlay(image, voxels[n], masks[n], alpha=0.5)
        if 'render_rig' in sample:
            lines = _frusta(sample.render_rig)
            away = lines[:, 0, 0] - small.cam2ref[n, :3, 3].numpy()
            lines = lines[np.linalg.norm(away, axis=-1) > _OWN]
            lines = lines.reshape(-1, 2, 3)
            image = draw_lines(image, lines, small[n : n + 1], _VIEW)
        pictures.append(image)
    return pictures


def _with_depths(
    images: np.ndarray, returns: _Returns | None, rig: CameraRig
) -> list[np.ndarray] | None:
    if returns is None:
        return None
    return [
        draw_lidar(image, uv, depth)
        for image, (uv, depth, _) in zip(images, returns.seen_by(rig))
    ]


def _with_classes(
    images: np.ndarray, returns: _Returns | None, rig: CameraRig
) -> list[np.ndarray] | None:
    if returns is None:
        return None
    return [
        draw_points(image, *seen)
        for image, seen in zip(images, returns.seen_by(rig))
    ]


def _from_above(
    sample: OccDataSample,
    spec: LabelSpec,
    rig: CameraRig,  # (N,)
    returns: _Returns | None,
) -> list[Panel]:
    """Labels; returns and frusta over them; and labels from behind."""
    occ, grid = _volume(sample, spec)
    (behind, _), (ahead, _) = reach(grid, spec.frame)
    view = BevMap(grid, _ABOVE / (ahead - behind), spec.frame)
    shown = np.full(grid.shape, spec.free, np.uint8) if occ is None else occ
    grey = volume_colors(shown, spec).mean(axis=-1, keepdims=True) / 3
    grey = np.where(grey > 0, grey, BACKGROUND).repeat(3, axis=-1)
    grey = grey[..., :3].astype(np.uint8)
    panels: list[Panel] = []
    if occ is not None:
        flow = sample.gt_flow.numpy() if 'gt_flow' in sample else None
        above = bev_image(occ, spec, view, flow)
        panels.append(('labels from above', above))
    measured = bev_image(shown, spec, view, colors=grey)
    title = ['cameras (white)']
    if returns is not None:
        title.insert(0, 'LiDAR')
        draw_points_bev(measured, view, returns.points, returns.colors)
    if 'render_rig' in sample:
        lines = _frusta(sample.render_rig).reshape(-1, 2, 3)
        draw_lines_bev(measured, view, lines, _VIEW)
        title.append('render views (pink)')
    draw_lines_bev(measured, view, _frusta(rig).reshape(-1, 2, 3), _CAMERA)
    panels.append((', '.join(title), measured))
    if occ is None:
        # as large as beside the two others
        side = np.full_like(measured, PAPER)
        panels = [('', side), *panels, ('', side)]
    else:
        chase = chase_rig(_ABOVE, _ABOVE, frame=spec.frame)
        behind_it = render_occupancy(occ, grid, spec, chase)[0]
        panels.append(('labels from behind', behind_it))
    return panels


def _depths(sample: OccDataSample) -> _Returns | None:
    """Where ``gt_depth`` has returns."""
    if 'gt_depth' not in sample:
        return None
    camera, points = _from_maps(sample.rig[0], sample.gt_depth)
    colors = np.full(points.shape, _UNKNOWN, np.uint8)
    return _Returns(points, colors, camera.numpy())


def _classes(sample: OccDataSample, spec: LabelSpec) -> _Returns | None:
    """Where pixels have classes, in the colours of these."""
    if 'gt_pixel_semantics' in sample:
        ids = sample.gt_pixel_semantics
        depth = sample.gt_depth * (ids != spec.ignore)
        camera, points = _from_maps(sample.rig[0], depth)
        ids = ids[depth > 0]
    elif 'pixel_labels' in sample:
        # what moves is somewhere else now
        labels = sample.pixel_labels
        first = labels.index[:, 0] == 0
        labels = labels.chosen(first | ~labels.moving)
        frame, camera, row, column = labels.index.T
        rig = labels.rig[frame, camera][:, None]
        points = _points(rig, row, column, labels.depth)
        ids, camera = labels.label, torch.where(frame == 0, camera, -1)
    else:
        return None
    colors = np.array(spec.palette, np.uint8)[ids.numpy()]
    return _Returns(points, colors, camera.numpy())


def _from_maps(
    rig: CameraRig,  # (N,)
    depth: Tensor,  # (N, H, W)
) -> tuple[Tensor, np.ndarray]:
    """Cameras (P,) and metres (P, 3) of the pixels that have a depth."""
    camera, row, column = depth.nonzero().T
    points = _points(rig[camera][:, None], row, column, depth[depth > 0])
    return camera, points


def _points(
    rig: CameraRig,  # (P, 1)
    row: Tensor,  # (P,)
    column: Tensor,  # (P,)
    depth: Tensor,  # (P,)
) -> np.ndarray:
    """Where pixels with a depth are, metres, (P, 3)."""
    origins, turns = rig.to(torch.float64).pixel_rays()
    centres = torch.stack([column + 0.5, row + 0.5, torch.ones_like(depth)])
    rays = torch.einsum('pij,jp->pi', turns[:, 0], centres.double())
    return (origins[:, 0] + depth[:, None].double() * rays).numpy()


def _frusta(rig: CameraRig) -> np.ndarray:
    """The edges of what cameras see of the first metres, (N, 8, 2, 3).

    The first end of the first four is the camera.
    """
    origins, turns = rig.to('cpu', torch.float64).pixel_rays()
    w, h = float(rig.width), float(rig.height)
    corners = torch.tensor(
        [[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1]], dtype=torch.float64
    )
    far = origins[:, None] + _FRUSTUM * torch.einsum(
        'nij,kj->nki', turns, corners
    )
    near = origins[:, None].expand_as(far)
    sides = torch.stack([near, far], dim=2)
    end = torch.stack([far, far.roll(-1, dims=1)], dim=2)
    return torch.cat([sides, end], dim=1).numpy()
