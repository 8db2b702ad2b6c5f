"""Files of the ``safetensors`` package: tensors and text, no program.

A header of JSON says which bytes are which tensor; the package holds it
against the bytes that are there before a tensor is made. What a checkpoint
of ``torch.save`` has as its ``meta`` is one entry of the header's text, in
JSON: numbers, strings and containers of them.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, Mapping

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from occsplat.structures import whole_file

from .weight_values import DTYPES, check_bools

#: how the names of these files end
SUFFIX = '.safetensors'
#: the entry of the header's text that is the ``meta``
_META = 'occsplat'


def is_safetensors(head: bytes) -> bool:
    """Whether a file is one of safetensors.

    Args:
        head: its first 9 bytes or more: the length of the header, in eight
            bytes of which the highest are zero, and the header's brace.
    """
    return head[8:9] == b'{' and not any(head[5:8])


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """Read a file in the layout of a checkpoint.

    Args:
        path: the file.

    Returns:
        dict: ``state_dict``, tensors by name, in memory of their own, and
        ``meta``, a dict, empty in files of others.

    Raises:
        SafetensorError: when the header does not fit the bytes.
        ValueError: when there are numbers or text that can't be used.
    """
    weights: OrderedDict[str, Tensor] = OrderedDict()
    with safe_open(str(path), framework='pt') as file:
        meta = json.loads((file.metadata() or {}).get(_META, '{}'))
        for name in file.keys():
            # a view of the file, which may change under it
            value = file.get_tensor(name)
            if value.dtype not in DTYPES.values():
                raise ValueError(f'{name} has numbers of {value.dtype}')
            if value.dtype == torch.bool:
                check_bools(value.view(torch.uint8))
            weights[name] = value.clone()
    return dict(state_dict=weights, meta=meta)


def write_safetensors(
    path: str | Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Write weights, whole or not at all; the same ones, the same bytes.

    Args:
        path: the file; its folder exists.
        weights (mapping): tensors by name. Those that share memory are
            written twice.
        meta (mapping): what JSON can hold.
    """
    whole = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }
    # one entry: the package writes several in no order
    text = {_META: json.dumps(dict(meta), sort_keys=True)}
    with whole_file(Path(path)) as part:
        # the package's own files are for their maker's eyes alone
        part.write_bytes(save(whole, text))
