"""One function over three rasterisers.

Shape letters: N cameras, G Gaussians, H W pixels, C channels.

Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field
Rendering", SIGGRAPH 2023, in the definition of gsplat 1.5.3 (render mode
RGB+D, classic).
"""

from __future__ import annotations

from types import ModuleType
from typing import Callable

import torch
from torch import Tensor

from occsplat.structures import CameraRig, Gaussians, same_shape

from .arguments import (
    cast,
    check_features,
    check_gaussians,
    check_labels,
    common_dtype,
    make_settings,
    pick_backend,
    rig_cameras,
    upright,
)
from .definition import EPS2D
from .output import RenderOutput, RenderSettings


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
    check_gaussians(means, scales, opacities, quats)
    check_features(features, len(means))
    if background is not None:
        same_shape('background', background.shape, features.shape[1:])
    settings = make_settings(
        width, height, near, far, eps2d, max_alpha, camera_model
    )
    tensors = (means, scales, quats, opacities, features, background)
    module = pick_backend(backend, means, (*tensors, viewmats, Ks))
    dtype = common_dtype(module, tensors)
    with torch.autocast(means.device.type, enabled=False):
        cameras = upright(viewmats, Ks, dtype)
        return module.render(*cast(tensors, dtype), *cameras, settings)


@torch.no_grad()
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
    check_gaussians(means, scales, opacities, quats)
    check_features(features, len(means))
    check_labels(labels, len(means), num_classes, lowest=0)
    settings = make_settings(
        width, height, near, far, eps2d, max_alpha, camera_model
    )
    tensors = (means, scales, quats, opacities, features)
    module = pick_backend(backend, means, (*tensors, labels, viewmats, Ks))
    dtype = common_dtype(module, tensors)
    with torch.autocast(means.device.type, enabled=False):
        cameras = upright(viewmats, Ks, dtype)
        return _render_labels(
            module, *cast(tensors, dtype), labels, num_classes, *cameras,
            settings,
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
    """Render a prediction and the ground truth on the same Gaussians.

    The same as :func:`rasterize` and, for the Gaussians that have a label,
    :func:`rasterize_labels` with opacity 1, to the last bit. On the CPU
    the two share projection, sorting and tiles.

    Args:
        opacities, features: of the prediction.
        labels (Tensor): class ids in [0, num_classes), or negative where
            the ground truth is empty, integers, (G,).
        label_features (Tensor, optional): more channels of the ground
            truth, (G, F).
        means, scales, num_classes, viewmats, Ks, width, height, quats,
            near, far, eps2d, max_alpha, camera_model, backend: see
            :func:`rasterize_labels`.

    Returns:
        tuple: the prediction's RenderOutput and the ground truth's; the
        latter without a gradient.

    Raises:
        ValueError: as for :func:`rasterize_labels`.
    """
    if label_features is None:
        label_features = means.new_empty(len(means), 0)
    check_gaussians(means, scales, opacities, quats)
    check_features(features, len(means))
    check_features(label_features, len(means))
    check_labels(labels, len(means), num_classes, lowest=None)
    settings = make_settings(
        width, height, near, far, eps2d, max_alpha, camera_model
    )
    tensors = (means, scales, quats, opacities, features, label_features)
    module = pick_backend(backend, means, (*tensors, labels, viewmats, Ks))
    dtype = common_dtype(module, tensors)
    with torch.autocast(means.device.type, enabled=False):
        cameras = upright(viewmats, Ks, dtype)
        *tensors, label_features = cast(tensors, dtype)
        if hasattr(module, 'render_pair'):
            return module.render_pair(
                *tensors, labels, num_classes, label_features, *cameras,
                settings,
            )  # fmt: skip
        means, scales, quats, opacities, _ = tensors
        shape = (means, scales, quats, torch.ones_like(opacities))
        there = labels >= 0
        with torch.no_grad():
            truth = _render_labels(
                module,
                *(
                    None if x is None else x[there]
                    for x in (*shape, label_features, labels)
                ),
                num_classes,
                *cameras,
                settings,
            )
        return module.render(*tensors, None, *cameras, settings), truth


def render(
    gaussians: Gaussians, rig: CameraRig, **options: object
) -> RenderOutput:
    """Render Gaussians into the network-input images of a rig.

    Args:
        gaussians (Gaussians): in the reference frame.
        rig (CameraRig): N cameras, no other dimensions.
        **options: background, near, far, ..., see :func:`rasterize`.

    Returns:
        RenderOutput: N images of the rig's size.
    """
    return rasterize(**vars(gaussians), **rig_cameras(rig), **options)


def render_labels(
    gaussians: Gaussians,
    labels: Tensor,
    num_classes: int,
    rig: CameraRig,
    **options: object,
) -> RenderOutput:
    """Render labelled Gaussians into the images of a rig.

    Args:
        gaussians (Gaussians): in the reference frame; their features are
            the channels behind those of the classes.
        labels, num_classes: see :func:`rasterize_labels`.
        rig (CameraRig): N cameras, no other dimensions.
        **options: near, far, ..., see :func:`rasterize_labels`.

    Returns:
        RenderOutput: N images of the rig's size, without a gradient.
    """
    return rasterize_labels(
        **vars(gaussians),
        labels=labels,
        num_classes=num_classes,
        **rig_cameras(rig),
        **options,
    )


def render_pair(
    gaussians: Gaussians,
    labels: Tensor,
    num_classes: int,
    rig: CameraRig,
    label_features: Tensor | None = None,
    **options: object,
) -> tuple[RenderOutput, RenderOutput]:
    """Render a prediction and its ground truth into the images of a rig.

    Args:
        gaussians (Gaussians): the prediction, in the reference frame.
        labels, num_classes, label_features: of the ground truth, see
            :func:`rasterize_pair`.
        rig (CameraRig): N cameras, no other dimensions.
        **options: near, far, ..., see :func:`rasterize_pair`.

    Returns:
        tuple: N images each of the prediction and the ground truth.
    """
    return rasterize_pair(
        **vars(gaussians),
        labels=labels,
        num_classes=num_classes,
        label_features=label_features,
        **rig_cameras(rig),
        **options,
    )


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


def _render_labels(
    module: ModuleType,
    means: Tensor,
    scales: Tensor,
    quats: Tensor | None,
    opacities: Tensor,
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    viewmats: Tensor,
    Ks: Tensor,
    settings: RenderSettings,
) -> RenderOutput:
    """By label where the backend can, else with one-hot features."""
    if hasattr(module, 'render_labels'):
        return module.render_labels(
            means, scales, quats, opacities, features, labels, num_classes,
            viewmats, Ks, settings,
        )  # fmt: skip
    one_hot = torch.nn.functional.one_hot(labels.long(), num_classes)
    features = torch.cat((one_hot.to(features.dtype), features), dim=1)
    return module.render(
        means, scales, quats, opacities, features, None, viewmats, Ks,
        settings,
    )  # fmt: skip
