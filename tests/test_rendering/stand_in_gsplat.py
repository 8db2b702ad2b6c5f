"""A module that looks like gsplat and renders with our torch backend.

For machines without a GPU: it shows how gsplat is called, not what it does.
"""

import types

import torch

from occsplat.rendering import torch_backend
from occsplat.rendering.output import RenderSettings


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
        settings = RenderSettings(
            width, height, near_plane, far_plane, eps2d, 0.999,
            camera_model == 'ortho',
        )  # fmt: skip
        out = torch_backend.render(
            means, scales, quats, opacities, colors,
            None if backgrounds is None else backgrounds[0],
            viewmats, Ks, settings,
        )  # fmt: skip
        image = torch.cat((out.features, out.depth[..., None]), dim=-1)
        views = [
            torch_backend.project(means, scales, quats, view, K, settings)
            for view, K in zip(viewmats, Ks)
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
