"""The depth net that FB-Occ, BEVDet-Occ and RenderOcc publish.

They know a camera by 27 numbers, OccSplat by 22: lengths in thousands of
pixels, and none of the volume augmentation, which is the identity in a
test. What the other five add there is a constant.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .steps import EPS, NORM, Tensors

#: ours by theirs: fx, fy, cx, cy, four of the image augmentation, its two
#: shifts, and camera -> reference
NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 6, 9, *range(15, 27)]
#: of ours those in thousands of pixels
KILO = [0, 1, 2, 3, 8, 9]
#: what the camera numbers open and close
GATES = ('context', 'depth')
#: the volume augmentation in a test: entries 00, 01, 10, 11 and 22
IDENTITY = (1.0, 0.0, 0.0, 1.0, 1.0)


def convert_depth_net(
    tensors: Tensors, prefix: str, to_train: bool = False
) -> None:
    """Fold what has no place of its own in ours, in place.

    Args:
        tensors: of the whole network.
        prefix: what the depth net's names begin with, such as
            'depth_net.'.
        to_train: whether ours goes on training from it. There a norm
            computes with the statistics of its batch, and nothing can be
            folded into others: the camera numbers keep their norm, in our
            units.
    """
    tensors.fold_bias(f'{prefix}reduce_conv.0', f'{prefix}reduce_conv.1')
    for conv in (0, 2):
        cost = f'{prefix}cost_volumn_net'
        tensors.fold_bias(f'{cost}.{conv}', f'{cost}.{conv + 1}')
    pool = f'{prefix}depth_conv.3.global_avg_pool'
    tensors.fold_norm(f'{pool}.1', f'{pool}.2')
    _convert_cameras(tensors, prefix, to_train)
    for gate in ('context_se', 'depth_se'):
        for conv in ('conv_reduce', 'conv_expand'):
            tensors.change(
                f'{prefix}{gate}.{conv}.weight', lambda x: x.flatten(1)
            )


def depth_net_names(prefix: str, ours: str) -> dict[str, str]:
    """Published names to ours, see ``Tensors.renamed``.

    Args:
        prefix: of the published names, a regular expression.
        ours: what ours begin with, such as 'lifter.depth_net.'.
    """
    names = {
        r'reduce_conv\.0\.': 'reduce.conv.',
        r'reduce_conv\.1\.': 'reduce.bn.',
        r'bn\.': 'camera_norm.',
        r'(context|depth)_mlp\.fc1\.': r'\1_gate.embed.0.',
        r'(context|depth)_mlp\.fc2\.': r'\1_gate.embed.2.',
        r'(context|depth)_se\.conv_reduce\.': r'\1_gate.excite.0.',
        r'(context|depth)_se\.conv_expand\.': r'\1_gate.excite.2.',
        r'context_conv\.': 'context.',
        r'cost_volumn_net\.0\.': 'cost.0.conv.',
        r'cost_volumn_net\.1\.': 'cost.0.bn.',
        r'cost_volumn_net\.2\.': 'cost.1.conv.',
        r'cost_volumn_net\.3\.': 'cost.1.bn.',
        r'depth_conv\.([0-2])\.': r'depth.\1.',
        r'depth_conv\.3\.aspp1\.atrous_conv\.': 'depth.3.branches.0.conv.',
        r'depth_conv\.3\.aspp2\.atrous_conv\.': 'depth.3.branches.1.conv.',
        r'depth_conv\.3\.aspp3\.atrous_conv\.': 'depth.3.branches.2.conv.',
        r'depth_conv\.3\.aspp4\.atrous_conv\.': 'depth.3.branches.3.conv.',
        r'depth_conv\.3\.aspp1\.bn\.': 'depth.3.branches.0.bn.',
        r'depth_conv\.3\.aspp2\.bn\.': 'depth.3.branches.1.bn.',
        r'depth_conv\.3\.aspp3\.bn\.': 'depth.3.branches.2.bn.',
        r'depth_conv\.3\.aspp4\.bn\.': 'depth.3.branches.3.bn.',
        r'depth_conv\.3\.global_avg_pool\.1\.': 'depth.3.mean.1.',
        r'depth_conv\.3\.conv1\.': 'depth.3.project.0.conv.',
        r'depth_conv\.3\.bn1\.': 'depth.3.project.0.bn.',
        r'depth_conv\.4\.': 'depth.4.',
    }
    return {prefix + old: ours + new for old, new in names.items()}


def _convert_cameras(tensors: Tensors, prefix: str, to_train: bool) -> None:
    """The norm of the camera numbers, and what reads them."""
    norm = f'{prefix}bn'
    parts = [f'{norm}.{part}' for part in NORM]
    parts += [f'{prefix}{gate}_mlp.fc1.weight' for gate in GATES]
    # what is missing, or of other cameras, is told from what comes out
    if not all(
        name in tensors and tensors.value(name).shape[-1] == 27
        for name in parts
    ):
        return
    weight, bias, mean, var = (
        tensors.value(f'{norm}.{part}').double() for part in NORM
    )
    scale = weight / torch.sqrt(var + EPS)
    shift = bias - mean * scale
    constant = torch.tensor(IDENTITY).double() * scale[10:15] + shift[10:15]
    for gate in GATES:
        layer = f'{prefix}{gate}_mlp.fc1'
        kernel = tensors.value(f'{layer}.weight').double()
        added = kernel[:, 10:15] @ constant
        tensors.change(f'{layer}.bias', _plus(added))
        tensors.change(f'{layer}.weight', lambda x: x[:, NUMBERS])
    unit = torch.ones(len(NUMBERS)).double()
    unit[KILO] = 1e3
    ours = dict(
        weight=scale[NUMBERS] * unit,
        bias=shift[NUMBERS],
        running_mean=torch.zeros(len(NUMBERS)),
        # a norm adds EPS
        running_var=torch.full((len(NUMBERS),), 1 - EPS),
    )
    if to_train:
        ours = dict(
            weight=weight[NUMBERS],
            bias=bias[NUMBERS],
            running_mean=mean[NUMBERS] / unit,
            # a norm adds EPS, here to thousands of pixels
            running_var=(var[NUMBERS] + EPS) / unit**2 - EPS,
        )
    for part, value in ours.items():
        # all four of ours are made of all four of theirs
        tensors.change(f'{norm}.{part}', _instead(value.float()))


def _plus(added: Tensor):
    return lambda x: (x.double() + added).float()


def _instead(value: Tensor):
    return lambda _: value
