"""Named steps from a published network's tensors to ours.

Each is exact: the network computes the same, up to round-off. They work on
:class:`Tensors`, which remembers what each tensor was made of.
"""

from __future__ import annotations

import re
from typing import Callable, Iterator, Mapping

import torch
from torch import Tensor

from occsplat.data.layout import CAMERAS

from .parts import Renamed

#: cameras in the order of BEVFormer's infos, and of what came after it
BEVFORMER_CAMERAS = (
    'CAM_FRONT',
    'CAM_FRONT_RIGHT',
    'CAM_FRONT_LEFT',
    'CAM_BACK',
    'CAM_BACK_LEFT',
    'CAM_BACK_RIGHT',
)
#: of batch norms, as all of these networks have it
EPS = 1e-5
#: tensors of a batch norm
NORM = ('weight', 'bias', 'running_mean', 'running_var')


class Tensors:
    """A checkpoint's tensors, on their way to other names.

    Args:
        state (mapping): tensors by published name.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.found = {
            name: Renamed(name, value, (name,))
            for name, value in state.items()
        }

    def __contains__(self, name: str) -> bool:
        return name in self.found

    def value(self, name: str) -> Tensor:
        """A tensor as it is by now.

        Raises:
            KeyError: when there is none of this name.
        """
        return self.found[name].value

    def matching(self, pattern: str) -> list[str]:
        """Names that a regular expression matches whole, in order."""
        return [name for name in self.found if re.fullmatch(pattern, name)]

    def change(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        """Replace a tensor by what a function makes of it, if it is there."""
        if name in self.found:
            item = self.found[name]
            self.found[name] = item._replace(value=function(item.value))

    def make(self, name: str, value: Tensor, *sources: str) -> None:
        """A tensor that stands for others, which go."""
        origins = tuple(
            origin
            for source in sources
            for origin in self.found.pop(source).sources
        )
        self.found[name] = Renamed(name, value, origins)

    def fold_bias(self, conv: str, norm: str) -> None:
        """A convolution's bias in front of a batch norm: out of its mean."""
        bias, mean = f'{conv}.bias', f'{norm}.running_mean'
        if bias in self and mean in self:
            value = self.value(mean) - self.value(bias)
            self.make(mean, value, bias, mean)

    def fold_norm(self, conv: str, norm: str) -> None:
        """A batch norm behind a convolution without bias: into both."""
        names = [f'{norm}.{part}' for part in NORM]
        if not all(name in self for name in names):
            return
        weight, bias, mean, var = map(self.value, names)
        scale = weight / torch.sqrt(var + EPS)
        kernel = self.value(f'{conv}.weight')
        shape = (-1, *[1] * (kernel.dim() - 1))
        # two tensors of the same five
        origins = tuple(self.found[name].sources[0] for name in names)
        self.make(f'{conv}.bias', bias - mean * scale, *names)
        own = f'{conv}.weight'
        self.found[own] = Renamed(
            own, kernel * scale.view(shape), (own, *origins)
        )

    def renamed(self, names: Mapping[str, str]) -> Iterator[Renamed]:
        """Under our names, those that have one.

        Args:
            names (mapping): from regular expressions, which match the
                beginning of a name, to what replaces it; the first that
                matches counts.
        """
        patterns = [(re.compile(old), new) for old, new in names.items()]
        for name, item in self.found.items():
            for pattern, new in patterns:
                if pattern.match(name):
                    yield item._replace(name=pattern.sub(new, name, count=1))
                    break


def bgr_to_rgb(kernel: Tensor) -> Tensor:
    """A first convolution that saw blue, green, red: (O, 3, h, w)."""
    return kernel.flip(1)


def yxz_to_xyz(kernel: Tensor) -> Tensor:
    """A 3D kernel over (Y, X, Z), (O, I, kY, kX, kZ), over (X, Y, Z)."""
    return kernel.transpose(2, 3)


def zyx_to_xyz(kernel: Tensor) -> Tensor:
    """A 3D kernel over (Z, Y, X), (O, I, kZ, kY, kX), over (X, Y, Z)."""
    return kernel.transpose(2, 4)


def reorder_cameras(rows: Tensor) -> Tensor:
    """A row for each of BEVFORMER_CAMERAS, (6, C), in our order."""
    return rows[[BEVFORMER_CAMERAS.index(name) for name in CAMERAS]]


def linear_to_conv3d(weight: Tensor) -> Tensor:
    """A perceptron's layer (O, I) as a 1x1x1 convolution."""
    return weight[:, :, None, None, None]


def swap_uv(offsets: Tensor) -> Tensor:
    """Rows (..., 2) of sampling offsets, of a map whose axes are swapped."""
    return offsets.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def swap_points_and_anchors(
    rows: Tensor, heads: int, points: int, anchors: int
) -> Tensor:
    """Rows by head, point, anchor to rows by head, anchor, point."""
    split = rows.unflatten(0, (heads, points, anchors, -1))
    return split.transpose(1, 2).flatten(0, 3)
