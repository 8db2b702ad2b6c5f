"""A network's graph in a file: torch.export's, or ONNX.

The file appears when it has been seen to give what the network gives.
"""

from __future__ import annotations

import importlib
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from occsplat.structures import MissingPackageError, whole_file

from .errors import ExportError
from .network import ExportedNetwork
from .translations import OPSET, translations

#: runs a graph: inputs to outputs, both in the network's order
Run = Callable[[Sequence[Tensor]], list[Tensor]]


def check_packages(format: str) -> None:
    """See that what a format needs is installed.

    Raises:
        MissingPackageError: when it is not.
    """
    if format == 'onnx':
        for name in ('onnx', 'onnxscript', 'onnxruntime'):
            _package(name)


def traced(
    network: ExportedNetwork, inputs: Sequence[Tensor]
) -> torch.export.ExportedProgram:
    """The graph of a network.

    Args:
        network: in evaluation mode.
        inputs: those of a frame; their shapes are the graph's. With a
            fixed rig, its numbers are the graph's, too.

    Raises:
        ExportError: names the module that has no graph, and the reason.
    """
    with torch.no_grad(), warnings.catch_warnings():
        # of torch's own calls to itself
        warnings.simplefilter('ignore', FutureWarning)
        network(*inputs)
        with _naming(network) as place:
            try:
                return torch.export.export(network, tuple(inputs))
            except Exception as error:
                reason = ' '.join(str(error).split())
                raise ExportError(
                    f'{place()} has no graph that torch.export can see: '
                    f'{type(error).__name__}: {reason:.200}'
                ) from error


@contextmanager
def write_onnx(
    program: torch.export.ExportedProgram,
    network: ExportedNetwork,
    path: Path,
) -> Iterator[Run]:
    """Write an ONNX file, if nothing in the context says otherwise.

    Args:
        program: the network's graph.
        network: names inputs and outputs.
        path: the file.

    Yields:
        callable: runs the file with onnxruntime on the CPU.

    Raises:
        ExportError: when an operator has no counterpart in ONNX.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        try:
            made = torch.onnx.export(
                program,
                input_names=network.input_names,
                output_names=network.output_names,
                opset_version=OPSET,
                custom_translation_table=translations(),
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ExportError(_untranslated(program, error)) from error
    with whole_file(path) as part:
        made.save(part, external_data=False)
        yield onnx_runner(part)


@contextmanager
def write_torch(
    program: torch.export.ExportedProgram,
    network: ExportedNetwork,
    path: Path,
) -> Iterator[Run]:
    """Write torch.export's file, if nothing in the context says otherwise.

    Args:
        program: the network's graph.
        network: as for ``write_onnx``.
        path: the file.

    Yields:
        callable: runs the file.
    """
    with whole_file(path) as part:
        with open(part, 'wb') as file, warnings.catch_warnings():
            warnings.simplefilter('ignore', UserWarning)
            torch.export.save(program, file)
        with open(part, 'rb') as file, warnings.catch_warnings():
            # of torch's reading of what torch wrote
            warnings.simplefilter('ignore', UserWarning)
            module = torch.export.load(file).module()
        yield lambda inputs: list(module(*inputs))


#: by format: the ending of its files, and what writes them
FORMATS = {'onnx': ('.onnx', write_onnx), 'torch': ('.pt2', write_torch)}


def onnx_runner(path: Path) -> Run:
    """Runs a file with onnxruntime on the CPU, as many threads as torch."""
    runtime = _package('onnxruntime')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )
    names = [node.name for node in session.get_inputs()]

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        arrays = [np.ascontiguousarray(tensor.numpy()) for tensor in inputs]
        found = session.run(None, dict(zip(names, arrays)))
        return [torch.from_numpy(array) for array in found]

    return run


def operators(path: Path) -> dict[str, int]:
    """How often each operator is in an ONNX file, most frequent first."""
    graph = _package('onnx').load(str(path), load_external_data=False).graph
    counts: dict[str, int] = {}
    for node in graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


@contextmanager
def _naming(network: nn.Module) -> Iterator[Callable[[], str]]:
    """Within, the call tells which module is running, or broke."""
    running: list[str] = []
    handles = []
    for name, module in network.named_modules():
        label = f'{name.removeprefix("detector.")} ({type(module).__name__})'

        def enter(*_: Any, label: str = label) -> None:
            running.append(label)

        def leave(*_: Any) -> None:
            running.pop()

        if name:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
    try:
        yield lambda: running[-1] if running else 'the detector'
    finally:
        for handle in handles:
            handle.remove()


def _untranslated(
    program: torch.export.ExportedProgram, error: BaseException
) -> str:
    """Which operator has no counterpart, and whose it is."""
    text, cause = '', error
    while cause is not None:
        text, cause = f'{text} {cause}', cause.__cause__
    found = re.search(r"OpOverload\(op='([\w.]+)', overload='(\w+)'", text)
    if found is None:
        return f'no ONNX graph: {" ".join(text.split()):.300}'
    stacks = {
        node.name: list(node.meta.get('nn_module_stack', {}).values())
        for node in program.graph.nodes
    }
    place = 'the detector'
    # the operators that torch's are made of, which remember whose they are
    for node in program.run_decompositions().graph.nodes:
        if str(node.target).startswith(found[1]):
            for source in _sources(node.meta.get('from_node', ())):
                if stacks.get(source):
                    path, kind = stacks[source][-1]
                    name = path.removeprefix('detector.')
                    place = f'{name} ({str(kind).rpartition(".")[2]})'
    return (
        f'{place} uses {found[1]}, which has no counterpart in ONNX: try '
        '--format torch'
    )


def _sources(nodes: Sequence[Any]) -> Iterator[str]:
    """Names of the nodes that a node was made of, however deep."""
    for node in nodes:
        yield node.name
        yield from _sources(node.from_node)


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"ONNX files need {name}: run pip install 'occsplat[export]', or "
            'use --format torch'
        ) from error
