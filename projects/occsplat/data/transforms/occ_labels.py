"""Voxel labels: reading and pooling.

Shape letters: X Y Z voxels, S children of a voxel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat import ops
from occsplat.data.label_files import absent
from occsplat.data.label_set import LabelSet, VoxelLabels
from occsplat.structures import LabelSpec, VoxelGrid, as_grid
from occsplat.structures.checks import checked


@TRANSFORMS.register_module()
class LoadOccLabels(BaseTransform):
    """Read voxel labels.

    Adds ``gt_occ``, class ids uint8 (X, Y, Z); ``gt_flow``, m/s along
    the reference axes, float32 (X, Y, Z, 2), where the label set has it;
    ``gt_visible``, voxels that a camera sees, bool (X, Y, Z), where a
    mask exists (Occ3D's own, or the visibility files next to OpenOcc's;
    SurroundOcc has none); and their ``label_grid``.

    Args:
        label_spec (str | LabelSpec): the data set's own, whose frame the
            sample is in.
        grid (VoxelGrid | dict, optional): a coarser grid of the same
            range to pool to, see ``pool_labels``.
        use_camera_mask (bool): unseen voxels become 'ignore'.
        with_flow (bool): whether to read the flow of a label set that has
            it.

    Raises:
        FileNotFoundError: when the frame has no label file, or no mask
            where ``use_camera_mask`` needs one.
        DataError: when a file is damaged, an array has another shape or
            type, ids are unknown or a mask holds more than 0 and 1.
        ValueError: when ``grid`` does not divide the labels' own grid;
            when ``use_camera_mask`` asks for masks that the set does not
            have; or when the sample is in another frame than the labels.
    """

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        use_camera_mask: bool = False,
        with_flow: bool = True,
    ) -> None:
        self.labels = LabelSet.named(label_spec)
        self.spec = self.labels.spec
        self.grid = self.spec.grid if grid is None else as_grid(grid)
        self.stride = _stride(self.spec.grid, self.grid)
        self.use_camera_mask = use_camera_mask
        self.with_flow = with_flow
        if use_camera_mask and not self.labels.has_masks:
            raise ValueError(
                'use_camera_mask=True needs masks, and '
                f'{self.labels.file.title} come without any'
            )

    @property
    def reads(self) -> tuple[str, ...]:
        """See ``inventory.files_read``; masks where they are needed."""
        files = [self.labels.file]
        if self.use_camera_mask and self.labels.masks is not None:
            files.append(self.labels.masks)
        return tuple(file.key for file in files)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the labels."""
        self._check_frame(results)
        occ, flow, visible = self._read(results)
        if self.use_camera_mask:
            if visible is None:
                raise FileNotFoundError(
                    absent(results, self.labels.masks or self.labels.file)
                    + ', which use_camera_mask=True needs'
                )
            occ = np.where(visible, occ, self.spec.ignore).astype(np.uint8)
        if self.stride != (1, 1, 1):
            occ, flow, visible = pool_labels(
                occ, flow, visible, self.stride, self.spec
            )
        results['label_grid'] = self.grid
        results['label_spec'] = self.spec
        fields = dict(gt_occ=occ, gt_flow=flow, gt_visible=visible)
        results.update({k: v for k, v in fields.items() if v is not None})
        return results

    def _check_frame(self, results: dict[str, Any]) -> None:
        """Labels of the other frame would be off by metres, silently."""
        if results['ref_frame'] != self.spec.frame:
            raise ValueError(
                f'{self.spec.name} labels are in the {self.spec.frame} '
                f'frame, the sample is in the {results["ref_frame"]} frame: '
                'give the data set and LoadOccLabels the same label_spec'
            )

    def _read(self, results: dict[str, Any]) -> VoxelLabels:
        """Labels at their own resolution."""
        if results[self.labels.file.key] is None:
            raise FileNotFoundError(absent(results, self.labels.file))
        return self.labels.read(results, self.with_flow)


def _stride(fine: VoxelGrid, coarse: VoxelGrid) -> tuple[int, int, int]:
    """Children of a coarse voxel along each axis."""
    divides = all(f % c == 0 for f, c in zip(fine.shape, coarse.shape))
    if not divides or not np.allclose(fine.range, coarse.range):
        raise ValueError(
            f"grid {coarse} cannot be pooled from the labels' own {fine}: "
            'expected the same range and a shape that divides theirs'
        )
    return tuple(f // c for f, c in zip(fine.shape, coarse.shape))


def pool_labels(
    occ: np.ndarray,
    flow: np.ndarray | None,
    visible: np.ndarray | None,
    stride: tuple[int, int, int],
    spec: LabelSpec,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Labels of larger voxels.

    The children of a voxel vote for its class, see
    ``occsplat.ops.pool_labels``. Its flow is the mean over the children of
    its class; it is visible if a child is.

    Args:
        occ: ids, (X, Y, Z).
        flow: (X, Y, Z, 2) or None.
        visible: bool (X, Y, Z) or None.
        stride: children along each axis.
        spec: meaning of the ids.

    Returns:
        tuple: the three at ``shape / stride``.
    """
    pooled = ops.pool_labels(torch.from_numpy(occ), stride, spec)
    out = pooled.numpy().astype(np.uint8)
    if flow is not None:
        flow = _pool_flow(flow, _children(occ, stride), out, stride)
    if visible is not None:
        visible = _children(visible, stride).any(axis=-1)
    return out, flow, visible


def _pool_flow(
    flow: np.ndarray,
    children: np.ndarray,
    labels: np.ndarray,
    stride: tuple[int, int, int],
) -> np.ndarray:
    """Mean flow of the children that have their parent's class."""
    # next to nothing moves: only there is a mean worth its time
    moving = (flow[..., 0] != 0) | (flow[..., 1] != 0)
    moves = _children(moving, stride).any(axis=-1)
    x, y, z = np.nonzero(moves)
    blocks = flow.reshape(
        *(n for pair in zip(labels.shape, stride) for n in pair), 2
    )
    # (n, S, 2); nothing may move at all
    vectors = blocks[x, :, y, :, z].reshape(len(x), np.prod(stride), 2)
    winners = (children[moves] == labels[moves][:, None])[..., None]
    total = (vectors * winners).sum(axis=1)
    pooled = np.zeros((*labels.shape, 2), np.float32)
    pooled[moves] = total / np.maximum(winners.sum(axis=1), 1)
    return pooled


def _children(volume: np.ndarray, stride: tuple[int, int, int]) -> np.ndarray:
    """(X*a, Y*b, Z*c, ...) -> (X, Y, Z, a*b*c, ...)."""
    a, b, c = stride
    x, y, z = (n // s for n, s in zip(volume.shape, stride))
    rest = volume.shape[3:]
    blocks = volume.reshape(x, a, y, b, z, c, *rest)
    blocks = blocks.transpose(0, 2, 4, 1, 3, 5, *range(6, 6 + len(rest)))
    return blocks.reshape(x, y, z, a * b * c, *rest)
