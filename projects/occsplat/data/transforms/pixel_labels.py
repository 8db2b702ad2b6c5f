"""Labelled pixels of this and other key frames.

Shape letters: M frames, N cameras, P labelled pixels, J boxes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat.data.pixel_files import RENDEROCC, SweepPixels
from occsplat.data.sets import lidar2d
from occsplat.structures import LabelSpec, PixelLabels, transform_points
from occsplat.structures.checks import NonNegative, Positive, checked

from .boxes import MARGIN, in_box
from .key_frames import key_frame, seen_from
from .returns import class_ids, nearest_returns, read_returns


@TRANSFORMS.register_module()
class LoadPixelLabels(BaseTransform):
    """Classes and depths of single pixels, from LiDAR returns.

    RenderOcc (ICRA 2024), section 3.3, and GSRender (2024), section 3.4:
    networks that never see a voxel label learn from them. Nothing but
    images has to be loaded before. The pixels are those of the raw
    images, made smaller by ``scale``, without image augmentation; of the
    returns in a pixel the nearest counts.

    Adds ``pixel_labels``, a PixelLabels, floats in float64. A frame
    beyond the scene's end has no pixel; its cameras are the current
    frame's, its ``dt`` is 0.

    Args:
        frames (sequence): offsets in key frames, 0 first.
        scale (float): size of the images relative to the raw ones.
        label_spec (str | LabelSpec): whose ids the labels get. Files hold
            Occ3D's; pixels of a class that the label set does not have
            ('others' in OpenOcc) are left out.
        max_depth (float): metres; pixels beyond are left out.
        min_speed (float): m/s above which an annotated object counts as
            moving.
        ignore_others (bool): leave pixels of 'others' out, as the
            lidarseg challenge does; RenderOcc trains on them.
        renderocc_root (str, optional): folder of RenderOcc's
            ``depth_gt/`` and ``seg_gt_lidarseg/`` to read instead of the
            files of ``tools/create_data.py lidar2d``.

    Raises:
        ValueError: when images have not been loaded before, the first
            offset is not 0 or 0 comes again, or an option is not
            positive.
        FileNotFoundError: when a frame has no file.
        DataError: when one is damaged, or made for images of another
            size.
    """

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        frames: Sequence[int] = (0,),
        scale: Positive = 1.0,
        max_depth: Positive = 52.0,
        min_speed: NonNegative = 0.5,
        ignore_others: bool = False,
        renderocc_root: str | Path | None = None,
    ) -> None:
        others = set(frames[1:])
        if not frames or frames[0] != 0 or len(others - {0}) + 1 < len(frames):
            raise ValueError(
                'frames must start with 0, the current key frame, and go on '
                f'with others, each once, got {tuple(frames)}'
            )
        self.frames = tuple(frames)
        self.scale = scale
        self.max_depth = max_depth
        self.min_speed = min_speed
        self.renderocc_root = renderocc_root
        self.ids = class_ids(LabelSpec.named(label_spec), ignore_others)

    @property
    def reads(self) -> tuple[str, ...]:
        """See ``occsplat.data.inventory.files_read``."""
        if self.renderocc_root is not None:
            return (RENDEROCC,)
        return (lidar2d.FILE.key,)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the pixels."""
        if 'raw_size' not in results:
            raise ValueError(
                'LoadPixelLabels needs the size of the raw images: put it '
                'after LoadMultiViewImages'
            )
        records = [key_frame(results, offset) for offset in self.frames]
        rig, frame2ref, dt = seen_from(results, records, self.scale)
        size = rig.width, rig.height
        parts = [
            self._frame(m, record, results['raw_size'], size)
            for m, record in enumerate(records)
            # the current frame stands in for one that does not exist, but
            # its pixels count once
            if m == 0 or record is not results
        ]
        results['pixel_labels'] = PixelLabels(
            rig,
            frame2ref,
            dt,
            *(torch.from_numpy(np.concatenate(part)) for part in zip(*parts)),
        )
        return results

    def _frame(
        self,
        m: int,
        record: dict[str, Any],
        raw_size: tuple[int, int],
        size: tuple[int, int],
    ) -> tuple[np.ndarray, ...]:
        """index, depth, label and moving of frame m's pixels."""
        pixels = read_returns(record, raw_size, self.renderocc_root)
        column, row = np.floor(pixels.uv * self.scale).astype(np.int64).T
        label = self.ids[pixels.label]
        keep = pixels.depth <= self.max_depth
        # a smaller image may lack a part of its last row or column
        keep &= (column < size[0]) & (row < size[1])
        keep = np.flatnonzero(keep)
        place = (pixels.camera * size[1] + row) * size[0] + column
        keep = keep[nearest_returns(place[keep], pixels.depth[keep])]
        # not before: what is left out still hides what is behind it
        keep = keep[label[keep] >= 0]
        index = np.stack(
            [
                np.full(len(keep), m),
                pixels.camera[keep],
                row[keep],
                column[keep],
            ],
            axis=-1,
        )
        moving = self._moving(record, pixels, keep)
        return index, pixels.depth[keep], label[keep], moving

    def _moving(
        self, record: dict[str, Any], pixels: SweepPixels, keep: np.ndarray
    ) -> np.ndarray:
        """Whether the returns are on something that moves, (P,)."""
        # velocities that nobody knows are nan, and not above anything
        fast = np.linalg.norm(record['box_velocities'], axis=-1)
        boxes = record['boxes'][fast > self.min_speed]
        moving = np.zeros(len(keep), bool)
        if not len(boxes):
            return moving
        points = _lidar_points(record, pixels, keep)
        x = np.ascontiguousarray(points[:, 0])
        for box in boxes:
            reach = np.linalg.norm(box[3:5]) / 2 + 2 * MARGIN
            near = np.flatnonzero(np.abs(x - box[0]) <= reach)
            moving[near] |= in_box(points[near], box)
        return moving


def _lidar_points(
    record: dict[str, Any], pixels: SweepPixels, keep: np.ndarray
) -> np.ndarray:
    """Where returns are in the LiDAR frame of their key frame, (P, 3)."""
    camera, depth = pixels.camera[keep], pixels.depth[keep]
    rays = np.column_stack([pixels.uv[keep], np.ones(len(keep))])
    points = np.empty_like(rays)
    for n, (K, ref2cam) in enumerate(
        zip(record['cam2img'], record['ref2cam'])
    ):
        mine = camera == n
        local = rays[mine] @ np.linalg.inv(K).T * depth[mine, None]
        cam2lidar = np.linalg.inv(ref2cam @ record['lidar2ref'])
        points[mine] = transform_points(cam2lidar, local)
    return points
