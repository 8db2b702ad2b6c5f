"""Rendered images of label volumes as pure arithmetic.

Shape letters: N cameras, G Gaussians, H W pixels, K classes, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from occsplat.rendering import render_labels
from occsplat.structures import CameraRig, Gaussians, LabelSpec, VoxelGrid

from .counts import Counts, NumberByClass, SumByClass, of_classes, ratio
from .sensor_cameras import exit_depth
from .voxel_counts import VoxelCounts, count_voxels, without_ignored

#: what depth a pixel has in which the prediction sees nothing
EMPTY_DEPTHS = ('exit', 'zero')


@dataclass
class ImageCounts(Counts):
    """All that image metrics need to know of any number of frames.

    Attributes:
        classes: of the class images' pixels; free is seeing nothing.
        depth_error: summed error in metres of the pixels in which the truth
            sees something, by true class, (K,).
        depth_pixels: number of those pixels, (K,).
    """

    classes: VoxelCounts
    depth_error: SumByClass
    depth_pixels: NumberByClass

    def summary(
        self, spec: LabelSpec, unseen: float | None = None, spare: int = 0
    ) -> dict[str, float]:
        """The flat dictionary of metrics.

        Args:
            spec (LabelSpec): names of the classes.
            unseen (float, optional): see ``VoxelCounts.summary``.
            spare (int): what is added to the number of pixels that the
                depth error of all classes is divided by.

        Returns:
            dict: image_IoU and image_mIoU as fractions of one,
            image_depth_L1 in metres over all pixels in which the truth
            sees something, and the last two by class.
        """
        out = self.classes.summary(spec, lead='image_', unseen=unseen)
        solid = list(spec.occupied)
        error, pixels = self.depth_error[solid], self.depth_pixels[solid]
        out['image_depth_L1'] = float(
            ratio(
                error.sum() + self.depth_error[spec.free],
                pixels.sum() + self.depth_pixels[spec.free] + spare,
            )
        )
        by_class = ratio(self.depth_error, self.depth_pixels)
        out.update(of_classes('image_depth_L1', by_class, spec, solid))
        return out


def count_pixels(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    rig: CameraRig,  # (N,)
    spec: LabelSpec,
    grid: VoxelGrid,
    scale: float | None = None,
    empty_depth: str = 'exit',
) -> ImageCounts:
    """Render two label volumes and count the agreement of their images.

    Args:
        pred_occ (Tensor): predicted class ids.
        gt_occ (Tensor): true class ids; voxels with the ignore id are
            empty in both volumes.
        rig (CameraRig): the cameras, with images of the size to render.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels are.
        scale (float, optional): standard deviation of a Gaussian in
            metres; half a voxel along each axis unless given.
        empty_depth (str): depth of a pixel in which the prediction sees
            nothing: 'exit', where its ray leaves the grid; or 'zero'.

    Returns:
        ImageCounts: of this one frame.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    guess, truth = without_ignored(pred_occ, gt_occ, spec)
    label, depth = render_occ(truth, rig, spec, grid, scale)
    guess_label, guess_depth = render_occ(guess, rig, spec, grid, scale)
    if empty_depth == 'exit':
        empty = exit_depth(rig, grid).to(guess_depth)
    else:
        empty = torch.zeros_like(guess_depth)
    guess_depth = torch.where(guess_label == spec.free, empty, guess_depth)
    seen = label != spec.free
    return compare_images(guess_label, label, guess_depth, depth, seen, spec)


def compare_images(
    guess: Tensor,  # (N, H, W)
    label: Tensor,  # (N, H, W)
    guess_depth: Tensor,  # (N, H, W)
    depth: Tensor,  # (N, H, W)
    seen: Tensor,  # (N, H, W)
    spec: LabelSpec,
) -> ImageCounts:
    """Count rendered images pixel by pixel.

    Args:
        guess, label (Tensor): class ids of prediction and truth.
        guess_depth, depth (Tensor): metres.
        seen (Tensor): bool, where depths are compared.
        spec (LabelSpec): meaning of the ids.
    """
    error = (guess_depth - depth).abs()[seen]
    classes = label[seen].numpy()
    return ImageCounts(
        count_voxels(guess, label, spec),
        # numpy adds up in a fixed order, torch in one that depends on threads
        np.bincount(classes, error.double().numpy(), spec.num_classes),
        np.bincount(classes, minlength=spec.num_classes),
    )


def render_occ(
    occ: Tensor,  # (X, Y, Z)
    rig: CameraRig,  # (N,)
    spec: LabelSpec,
    grid: VoxelGrid,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """What cameras see of a label volume.

    Every occupied voxel is an opaque Gaussian at its centre.

    Args:
        occ (Tensor): class ids, none of them ignored, on the CPU.
        rig (CameraRig): the cameras.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels are.
        scale (float, optional): standard deviation of a Gaussian in
            metres; half a voxel along each axis unless given.

    Returns:
        tuple: class ids, uint8 (N, H, W), free where the accumulated
        opacity is below a half; and the expected depth in metres,
        (N, H, W).
    """
    gaussians, labels = opaque_voxels(occ, spec, grid, scale)
    images = render_labels(gaussians, labels, spec.num_classes, rig)
    classes = images.class_image(spec.num_classes, empty=spec.free)
    return classes, images.expected_depth()


def opaque_voxels(
    occ: Tensor,  # (X, Y, Z)
    spec: LabelSpec,
    grid: VoxelGrid,
    scale: float | None = None,
    part: float = 0.5,
) -> tuple[Gaussians, Tensor]:
    """An opaque Gaussian at the centre of every occupied voxel.

    Args:
        occ (Tensor): class ids, none of them ignored, on the CPU.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels are.
        scale (float, optional): standard deviation in metres.
        part (float): standard deviation in voxels, along each axis, unless
            there is a scale.

    Returns:
        tuple: G Gaussians, without features, and their class ids, (G,).
    """
    occupied = occ != spec.free
    means = grid.centers()[occupied]
    scales = [part * n for n in grid.size] if scale is None else scale
    gaussians = Gaussians(
        means=means,
        scales=means.new_tensor(scales).expand_as(means),
        opacities=means.new_ones(len(means)),
        features=means.new_empty(len(means), 0),
    )
    return gaussians, occ[occupied].long()
