"""One function over three rasterisers.

Shape letters: N cameras, G Gaussians, H W pixels, C channels.

Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field
Rendering", SIGGRAPH 2023, in the definition of gsplat 1.5.3 (render mode
RGB+D, classic).
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

from occsplat.structures import CameraRig, Cameras, Gaussians, same_shape

from .arguments import (
    as_cameras,
    check_features,
    check_gaussians,
    check_labels,
    make_settings,
    pick_backend,
    upright,
)
from .definition import EPS2D
from .output import RenderOutput


def render(
    gaussians: Gaussians,
    cameras: Cameras | CameraRig,
    background: Tensor | None = None,  # (C,)
    backend: str = 'auto',
    **numbers: float,
) -> RenderOutput:
    """Render Gaussians into N cameras: :func:`rasterize` of nouns.

    Args:
        gaussians (Gaussians): in the cameras' reference frame.
        cameras (Cameras | CameraRig): N of them; of a rig, what renders
            its network-input images.
        background, backend: see :func:`rasterize`.
        **numbers: near, far, eps2d and max_alpha, likewise.

    Returns:
        RenderOutput: N images.

    Raises:
        ValueError, MissingPackageError: as :func:`rasterize`.
    """
    cameras = as_cameras(cameras)
    check_gaussians(gaussians)
    if background is not None:
        shape = gaussians.features.shape[1:]
        same_shape('background', background.shape, shape)
    settings = make_settings(numbers)
    module, dtype = pick_backend(backend, gaussians, cameras, background)
    with torch.autocast(gaussians.means.device.type, enabled=False):
        if background is not None:
            background = background.to(dtype)
        return module.render(
            gaussians.to(dtype), background, upright(cameras, dtype), settings
        )


@torch.no_grad()
def render_labels(
    gaussians: Gaussians,
    labels: Tensor,  # (G,)
    num_classes: int,
    cameras: Cameras | CameraRig,
    backend: str = 'auto',
    **numbers: float,
) -> RenderOutput:
    """Render labelled Gaussians: :func:`rasterize_labels` of nouns.

    Args:
        gaussians (Gaussians): their features are the channels behind those
            of the classes.
        labels, num_classes: see :func:`rasterize_labels`.
        cameras, backend, **numbers: see :func:`render`.

    Returns:
        RenderOutput: N images, without a gradient.

    Raises:
        ValueError, MissingPackageError: as :func:`rasterize_labels`.
    """
    cameras = as_cameras(cameras)
    check_gaussians(gaussians)
    check_labels(labels, len(gaussians), num_classes, lowest=0)
    settings = make_settings(numbers)
    module, dtype = pick_backend(backend, gaussians, cameras, labels)
    with torch.autocast(gaussians.means.device.type, enabled=False):
        return module.render_labels(
            gaussians.to(dtype), labels, num_classes,
            upright(cameras, dtype), settings,
        )  # fmt: skip


def render_pair(
    gaussians: Gaussians,
    labels: Tensor,  # (G,)
    num_classes: int,
    cameras: Cameras | CameraRig,
    label_features: Tensor | None = None,  # (G, F)
    backend: str = 'auto',
    **numbers: float,
) -> tuple[RenderOutput, RenderOutput]:
    """Render a prediction and the ground truth on the same Gaussians.

    The same as :func:`render` and, for the Gaussians that have a label,
    :func:`render_labels` with opacity 1, to the last bit. On the CPU the
    two share projection, sorting and tiles.

    Args:
        gaussians (Gaussians): the prediction.
        labels (Tensor): class ids in [0, num_classes), or negative where
            the ground truth is empty, integers, (G,).
        num_classes (int): channels of the classes.
        label_features (Tensor, optional): more channels of the ground
            truth, (G, F).
        cameras, backend, **numbers: see :func:`render`.

    Returns:
        tuple: the prediction's RenderOutput and the ground truth's; the
        latter without a gradient.

    Raises:
        ValueError, MissingPackageError: as :func:`rasterize_labels`.
    """
    cameras = as_cameras(cameras)
    if label_features is None:
        label_features = gaussians.means.new_empty(len(gaussians), 0)
    check_gaussians(gaussians)
    check_features('label_features', label_features, len(gaussians))
    check_labels(labels, len(gaussians), num_classes, lowest=None)
    settings = make_settings(numbers)
    module, dtype = pick_backend(
        backend, gaussians, cameras, labels, label_features
    )
    with torch.autocast(gaussians.means.device.type, enabled=False):
        return module.render_pair(
            gaussians.to(dtype), labels, num_classes,
            label_features.to(dtype), upright(cameras, dtype), settings,
        )  # fmt: skip


def rasterize(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    opacities: Tensor,  # (G,)
    features: Tensor,  # (G, C)
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    width: int,
    height: int,
    quats: Tensor | None = None,  # (G, 4)
    background: Tensor | None = None,  # (C,)
    near: float = 0.1,
    far: float = 1e10,
    eps2d: float = EPS2D,
    max_alpha: float = 0.999,
    camera_model: str = 'pinhole',
    backend: str = 'auto',
) -> RenderOutput:
    """Render Gaussians into N cameras.

    A Gaussian with camera-frame covariance S becomes an image-plane
    Gaussian of covariance J S J^T + eps2d I, with J the Jacobian of the
    projection at its centre. In a pixel at offset d from its centre it has

        alpha = min(max_alpha, opacity * exp(-d^T cov^-1 d / 2))

    and is skipped below 1/255. From front to back, by (depth, index),
    w_i = alpha_i * prod_{j < i} (1 - alpha_j), until the product would
    reach 1e-4; the output is sum_i w_i features_i.

    With a leading dimension B of scenes in every tensor but the
    background, scene after scene is rendered and the images are stacked.

    Differentiable in means, scales, quats, opacities, features and
    background; cameras are constants. Depth is blended onto 0. Where few
    pixels matter, see :func:`~occsplat.rendering.rasterize_pixels`.

    Args:
        means (Tensor): centres in metres, (G, 3).
        scales (Tensor): standard deviations along the Gaussian's axes in
            metres, (G, 3).
        opacities (Tensor): in [0, 1], (G,).
        features (Tensor): what is blended, (G, C).
        viewmats (Tensor): frame of the means -> camera (x right, y down,
            z forward), (N, 4, 4). May mirror.
        Ks (Tensor): camera -> pixels, (N, 3, 3); the centre of pixel
            (0, 0) is at (0.5, 0.5). For 'ortho' the focal lengths are
            pixels per metre. May contain the flip, rotation or shear of
            an image augmentation.
        width, height (int): image size in pixels.
        quats (Tensor, optional): rotations wxyz of any length > 0, (G, 4).
            Without them the axes are those of the means' frame.
        background (Tensor, optional): features behind everything, (C,).
        near, far (float): range of camera z in metres, both included.
        eps2d (float): blur in square pixels: no splat is smaller.
        max_alpha (float): largest alpha of one Gaussian in a pixel.
        camera_model (str): 'pinhole' or 'ortho'.
        backend (str): 'torch' (any device and floating type), 'numba'
            (CPU), 'gsplat' (CUDA) or 'auto': the fast one of the device,
            and 'torch' for the CPU where numba is missing.
            Only 'torch' computes in double precision.

    Returns:
        RenderOutput: features (N, H, W, C), depth (N, H, W), alpha
        (N, H, W).

    Raises:
        ValueError: when shapes, devices or options do not fit.
        MissingPackageError: when CUDA tensors need gsplat, or backend
            'numba' needs numba, and it is missing.
    """
    if means.dim() > 2:
        batched = dict(
            means=means, scales=scales, opacities=opacities,
            features=features, viewmats=viewmats, Ks=Ks, quats=quats,
        )  # fmt: skip
        return _each_scene(
            rasterize, batched, width=width, height=height,
            background=background, near=near, far=far, eps2d=eps2d,
            max_alpha=max_alpha, camera_model=camera_model, backend=backend,
        )  # fmt: skip
    return render(
        Gaussians(means, scales, opacities, features, quats),
        Cameras(viewmats, Ks, width, height, camera_model),
        background, backend, near=near, far=far, eps2d=eps2d,
        max_alpha=max_alpha,
    )  # fmt: skip


def rasterize_labels(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    opacities: Tensor,  # (G,)
    labels: Tensor,  # (G,)
    num_classes: int,
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    width: int,
    height: int,
    features: Tensor | None = None,  # (G, F)
    quats: Tensor | None = None,  # (G, 4)
    near: float = 0.1,
    far: float = 1e10,
    eps2d: float = EPS2D,
    max_alpha: float = 0.999,
    camera_model: str = 'pinhole',
    backend: str = 'auto',
) -> RenderOutput:
    """Render ground truth: :func:`rasterize` with one-hot classes.

    Without a gradient; faster, as a Gaussian adds to one class only.

    Args:
        labels (Tensor): class ids in [0, num_classes), integers, (G,).
        num_classes (int): channels of the classes.
        features (Tensor, optional): more channels, such as the flow,
            which follow those of the classes, (G, F).
        means, scales, opacities, viewmats, Ks, width, height, quats, near,
            far, eps2d, max_alpha, camera_model, backend: see
            :func:`rasterize`.

    Returns:
        RenderOutput: see :func:`rasterize`, with num_classes + F
        channels. Those of the classes sum to alpha.

    Raises:
        ValueError: when a label is out of range, or as for
            :func:`rasterize`.
    """
    if means.dim() > 2:
        batched = dict(
            means=means, scales=scales, opacities=opacities, labels=labels,
            features=features, viewmats=viewmats, Ks=Ks, quats=quats,
        )  # fmt: skip
        return _each_scene(
            rasterize_labels, batched, num_classes=num_classes, width=width,
            height=height, near=near, far=far, eps2d=eps2d,
            max_alpha=max_alpha, camera_model=camera_model, backend=backend,
        )  # fmt: skip
    if features is None:
        features = means.new_empty(len(means), 0)
    return render_labels(
        Gaussians(means, scales, opacities, features, quats),
        labels, num_classes,
        Cameras(viewmats, Ks, width, height, camera_model),
        backend, near=near, far=far, eps2d=eps2d, max_alpha=max_alpha,
    )  # fmt: skip


def rasterize_pair(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    opacities: Tensor,  # (G,)
    features: Tensor,  # (G, C)
    labels: Tensor,  # (G,)
    num_classes: int,
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    width: int,
    height: int,
    label_features: Tensor | None = None,  # (G, F)
    quats: Tensor | None = None,  # (G, 4)
    near: float = 0.1,
    far: float = 1e10,
    eps2d: float = EPS2D,
    max_alpha: float = 0.999,
    camera_model: str = 'pinhole',
    backend: str = 'auto',
) -> tuple[RenderOutput, RenderOutput]:
    """Render a prediction and its truth: :func:`render_pair` for tensors.

    Args:
        opacities, features: of the prediction.
        labels, label_features: of the truth, see :func:`render_pair`.
        means, scales, num_classes, viewmats, Ks, width, height, quats,
            near, far, eps2d, max_alpha, camera_model, backend: see
            :func:`rasterize_labels`.

    Returns:
        tuple: the prediction's RenderOutput and the ground truth's; the
        latter without a gradient.

    Raises:
        ValueError, MissingPackageError: as :func:`rasterize_labels`.
    """
    return render_pair(
        Gaussians(means, scales, opacities, features, quats),
        labels, num_classes,
        Cameras(viewmats, Ks, width, height, camera_model),
        label_features, backend, near=near, far=far, eps2d=eps2d,
        max_alpha=max_alpha,
    )  # fmt: skip


def _each_scene(
    function: Callable,
    batched: dict[str, Tensor | None],
    **shared: object,
) -> RenderOutput:
    """Call a function for each index of the first dimension.

    One by one: gsplat 1.5 takes the opacities of the first scene to cull
    those of all (see gsplat_backend).
    """
    counts = {name: len(x) for name, x in batched.items() if x is not None}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(
            'scenes: expected the same number of them, at least 1, in the '
            f'first dimension of each tensor, got {counts}'
        )
    return RenderOutput.stack(
        [
            function(
                **{k: x if x is None else x[i] for k, x in batched.items()},
                **shared,
            )
            for i in range(counts['means'])
        ]
    )
