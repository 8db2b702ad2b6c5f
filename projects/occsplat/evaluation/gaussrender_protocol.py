"""The numbers of GaussRender's own evaluation script.

Its definitions of images and of the view from above, for comparison with
its tables; ``docs/metrics.md`` says how they differ from ours. Checked
against figures that its metric gives for four frames, in
``tests/test_evaluation/test_gaussrender_protocol.py``.

Shape letters: N cameras, G Gaussians, H W pixels, K classes, X Y Z voxels.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from occsplat.rendering import render_labels
from occsplat.structures import CameraRig, LabelSpec, VoxelGrid

from .image_counts import ImageCounts, compare_images, opaque_voxels
from .voxel_counts import VoxelCounts, count_voxels, without_ignored

#: whose definitions a metric goes by
PROTOCOLS = ('occsplat', 'gaussrender')
#: of the rasteriser: metres, and the largest alpha of a splat in a pixel
NEAR, MAX_ALPHA = 0.2, 0.99
#: metres of accumulated depth from which the truth sees something
MIN_DEPTH = 0.1
#: how the summaries differ: the IoU of a class without a true pixel, and
#: pixels that are added to the number that a mean depth error is divided by
UNSEEN = 1.0
SPARE = 1
#: side of the image from above, and its focal length, pixels
BEV_SIZE = 400
#: standard deviation of a Gaussian in voxels, where it is not a half
SCALES = {'occ3d': 0.675}  # 0.27 m


def check_protocol(metric: str, protocol: str) -> None:
    """Raise a ValueError unless there is such a protocol."""
    if protocol not in PROTOCOLS:
        raise ValueError(
            f'{metric}: protocol must be one of {PROTOCOLS}, got {protocol!r}'
        )


def check_sensor_images(
    rig: CameraRig, image_size: Sequence[int] | None
) -> None:
    """Raise a ValueError where the sensors' images are not to be had."""
    eye = torch.eye(3).to(rig.img_aug)
    if image_size is None and not torch.allclose(
        rig.img_aug, eye.expand_as(rig.img_aug)
    ):
        raise ValueError(
            "ImageMetric: protocol='gaussrender' renders the images as the "
            "cameras took them, and the rig has those of the network's "
            'input: give their size, image_size=(1600, 900) for nuScenes'
        )


def count_released_pixels(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    rig: CameraRig,  # (N,)
    spec: LabelSpec,
    grid: VoxelGrid,
    scale: float | None = None,
) -> ImageCounts:
    """``count_pixels`` as GaussRender's script has it.

    Free space is a class with the weight that nothing else takes, and wins
    a pixel if that is the largest. Depth is accumulated, not divided by
    the opacity, and compared where that of the truth is above 0.1 m.

    Args:
        pred_occ, gt_occ, rig, spec, grid: see ``count_pixels``.
        scale (float, optional): standard deviation of a Gaussian in
            metres; that of the released code unless given.

    Returns:
        ImageCounts: of this one frame; summarised with ``UNSEEN`` and
        ``SPARE``.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    guess, truth = without_ignored(pred_occ, gt_occ, spec)
    label, depth = _render(truth, rig, spec, grid, scale)
    guess_label, guess_depth = _render(guess, rig, spec, grid, scale)
    return compare_images(
        guess_label, label, guess_depth, depth, depth > MIN_DEPTH, spec
    )


def count_released_columns(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> VoxelCounts:
    """The rendered bird's-eye view of GaussRender's Table 8.

    Args:
        pred_occ, gt_occ, spec: see ``count_columns``.
        grid (VoxelGrid): where the voxels are.

    Returns:
        VoxelCounts: of the pixels of this one frame.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    guess, truth = (
        _render(occ, bev_camera(grid), spec, grid, gated=False)[0]
        for occ in without_ignored(pred_occ, gt_occ, spec)
    )
    return count_voxels(guess, truth, spec)


def bev_camera(grid: VoxelGrid) -> CameraRig:
    """GaussRender's view from above: a pinhole, in spite of the paper.

    It stands over the origin, as high as the grid is long along x, and
    looks down; x is to the right in its image, and y up.
    """
    length = grid.max[0] - grid.min[0]
    ref2cam = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])).double()
    ref2cam[2, 3] = length
    focal = float(BEV_SIZE)
    K = torch.tensor(
        [
            [focal, 0, -focal * grid.min[0] / length],
            [0, focal, focal * grid.max[1] / length],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    )
    return CameraRig.from_matrices(ref2cam[None], K[None], BEV_SIZE, BEV_SIZE)


def _render(
    occ: Tensor,  # (X, Y, Z)
    rig: CameraRig,  # (N,)
    spec: LabelSpec,
    grid: VoxelGrid,
    scale: float | None = None,
    gated: bool = True,
) -> tuple[Tensor, Tensor]:
    """Class ids, uint8, and accumulated depth in metres, (N, H, W) each.

    Gated, a Gaussian is in an image if its centre is inside by half a
    pixel.
    """
    part = SCALES.get(spec.name, 0.5)
    gaussians, labels = opaque_voxels(occ, spec, grid, scale, part)
    uv, z = rig.project(gaussians.means.to(rig.K))
    size = uv.new_tensor([rig.width, rig.height])
    inside = (z > 0) & ((uv > 0.5) & (uv < size - 0.5)).all(dim=-1)
    if not gated:
        inside = torch.ones_like(inside)
    classes, depths = [], []
    # camera by camera: six large images of all classes would take 0.6 GB
    for n in range(rig.num_cameras):
        out = render_labels(
            gaussians.chosen(inside[n]),
            labels[inside[n]],
            spec.num_classes,
            rig[n : n + 1],
            near=NEAR,
            max_alpha=MAX_ALPHA,
        )
        weights = out.features[0]
        weights[..., spec.free] += 1 - out.alpha[0]
        classes.append(weights.argmax(dim=-1).to(torch.uint8))
        depths.append(out.depth[0])
    return torch.stack(classes), torch.stack(depths)
