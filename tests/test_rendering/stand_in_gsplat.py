"""A module that looks like gsplat and renders with our torch backend.

For machines without a GPU: it shows how gsplat is called, not what it does.
"""

import types

import torch

from occsplat.rendering import torch_backend
from occsplat.rendering.output import RenderSettings
from occsplat.structures import Cameras, Gaussians


def stand_in_gsplat(version, calls=None):
    """gsplat's interface; ``calls`` collects how it was called."""

    def rasterization(
        means, quats, scales, opacities, colors, viewmats, Ks, width, height,
        near_plane, far_plane, eps2d, packed, render_mode, camera_model,
        backgrounds=None,
    ):  # fmt: skip
        # as 1.5.3 has it
        assert backgrounds is None or not packed, backgrounds.shape
        if calls is not None:
            calls.append(
                dict(channels=colors.shape[1], packed=packed, mode=render_mode)
            )
        gaussians = Gaussians(means, scales, opacities, colors, quats)
        cameras = Cameras(viewmats, Ks, width, height, camera_model)
        out = torch_backend.render(
            gaussians,
            None if backgrounds is None else backgrounds[0],
            cameras,
            RenderSettings(near_plane, far_plane, eps2d, 0.999),
        )
        image = torch.cat((out.features, out.depth[..., None]), dim=-1)
        views = [
            torch_backend.project(gaussians, cameras, n, eps2d)
            for n in range(len(cameras))
        ]
        centres, covariances, depths = map(torch.stack, zip(*views))
        inverse = torch.linalg.inv(covariances)
        conics = (inverse[..., 0, 0], inverse[..., 0, 1], inverse[..., 1, 1])
        meta = dict(
            means2d=centres,
            depths=depths,
            conics=torch.stack(conics, dim=-1),
            radii=covariances.diagonal(dim1=-2, dim2=-1).sqrt().ceil().int(),
        )
        return image, out.alpha[..., None], meta

    return types.SimpleNamespace(
        __version__=version, rasterization=rasterization
    )
