"""Operators whose translation to ONNX torch lacks, or has too coarse."""

from __future__ import annotations

from typing import Any, Callable

import torch

#: of the files; the first in which GridSample reads volumes
OPSET = 20
#: of torch's and ONNX's names
MODES = ('linear', 'nearest', 'cubic')
PADDINGS = ('zeros', 'border', 'reflection')


def translations() -> dict[Any, Callable[..., Any]]:
    """What ``torch.onnx.export`` takes as ``custom_translation_table``."""
    from onnxscript import opset20 as op

    def grid_sampler(
        input: Any, grid: Any, mode: int, padding: int, align_corners: bool
    ) -> Any:
        """Of images and, which torch does not translate, of volumes."""
        return op.GridSample(
            input,
            grid,
            mode=MODES[mode],
            padding_mode=PADDINGS[padding],
            align_corners=align_corners,
        )

    def mean(rows: Any) -> Any:
        """Over two axes, one after the other.

        A sum of half a million numbers, one by one in float32, is wrong in
        the fourth digit, as torch's translation to InstanceNormalization
        is in onnxruntime. One of a thousand sums of a thousand is not.
        """
        for axis in (3, 2):
            rows = op.ReduceMean(rows, op.Constant(value_ints=[axis]))
        return rows

    def group_norm(
        input: Any,
        groups: int,
        weight: Any = None,
        bias: Any = None,
        eps: float = 1e-5,
        cudnn_enabled: bool = True,
    ) -> Any:
        """Of images and volumes (B, C, X, ...)."""
        shape = list(input.shape)
        rows = shape[1] // groups * shape[2]
        layout = op.Constant(value_ints=[0, groups, rows, -1])
        values = op.Reshape(input, layout)
        values = op.Sub(values, mean(values))
        variance = mean(op.Mul(values, values))
        spread = op.Sqrt(op.Add(variance, op.Constant(value_float=eps)))
        values = op.Reshape(op.Div(values, spread), op.Shape(input))
        along = op.Constant(value_ints=[-1, *[1] * (len(shape) - 2)])
        if weight is not None:
            values = op.Mul(values, op.Reshape(weight, along))
        if bias is not None:
            values = op.Add(values, op.Reshape(bias, along))
        return values

    return {
        torch.ops.aten.grid_sampler.default: grid_sampler,
        torch.ops.aten.group_norm.default: group_norm,
    }
