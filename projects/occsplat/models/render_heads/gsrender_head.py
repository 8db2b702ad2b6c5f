"""GSRender: Gaussians splatted onto labelled pixels.

GSRender (2024): the Gaussians that GaussianOccHead predicts, a voxel one,
are rendered where LiDAR returns say class and depth.

Shape letters: P labelled pixels, S semantic classes, G Gaussians,
X Y Z voxels.
"""

from __future__ import annotations

from typing import Any

from mmdet3d.registry import MODELS

from occsplat.rendering import render_pixels
from occsplat.rendering.arguments import Backend
from occsplat.structures.checks import Positive, check_order, checked

from .pixel_render_head import FramePixels, PixelRenderHead, RenderedPixels

#: share of the light that gets through at least, for its logarithm
MIN_LIGHT = 1e-6


@MODELS.register_module()
class GSRenderHead(PixelRenderHead):
    """Semantic and depth losses on splatted pixels, with compensation.

    Args:
        near, far (float): depth range of the renders in metres. What is
            right in front of a camera covers its whole image, where the
            projection is least exact, and no pixel is labelled nearer
            than 1 m.
        backend (str): see rasterize.
        outside (str): see PixelRenderHead. 'drop' by default: with 'free'
            the tiny networks lose surfaces along with the air, see
            docs/methods/gsrender.md.
        **kwargs: see PixelRenderHead.
    """

    name = 'gsrender'

    @checked
    def __init__(
        self,
        near: Positive = 1.0,
        far: Positive = 100.0,
        backend: Backend = 'auto',
        outside: str = 'drop',
        **kwargs: Any,
    ) -> None:
        super().__init__(outside=outside, **kwargs)
        check_order(near=near, far=far)
        self.options = dict(near=near, far=far, backend=backend)

    def render(self, view: FramePixels) -> RenderedPixels:
        """Splat; see PixelRenderHead.

        Raises:
            ValueError: when the prediction has no Gaussians.
        """
        if view.prediction.gaussians is None:
            raise ValueError(
                'GSRenderHead renders Gaussians, and the occupancy head '
                'predicts none: it takes a GaussianOccHead'
            )
        gaussians = view.prediction.gaussians[view.sample]
        if view.inside is not None:
            gaussians = gaussians.chosen(view.inside.flatten())
        out = render_pixels(gaussians, view.rig, view.pixels, **self.options)
        # blending stops before 1e-4 of the light is left: only rounding
        # can get there
        absorbed = -(1 - out.alpha).clamp(min=MIN_LIGHT).log()
        return RenderedPixels(out.features, out.depth, out.alpha, absorbed)
