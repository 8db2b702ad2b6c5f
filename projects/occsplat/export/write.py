"""From a detector to a checked file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from occsplat.models import OccDetector

from .check import Difference, compare, first_inputs, require_same
from .graph import FORMATS, check_packages, traced
from .network import ExportedNetwork


def export(
    network: ExportedNetwork,
    detector: OccDetector,
    frames: Sequence[dict[str, Any]],
    format: str,
    path: str | Path,
) -> list[Difference]:
    """Write a network's graph, and run it beside the network.

    Args:
        network: of the detector.
        detector: in evaluation mode, on the CPU.
        frames: packed samples of a data set, one after the other; the
            first one's shapes are the graph's.
        format: of ``FORMATS``.
        path: the file.

    Returns:
        list of Difference: one a frame.

    Raises:
        ExportError: when there is no graph, or another one than the
            network; nothing is written.
        MissingPackageError: when the format needs what is not installed.
        DataError: when the file can't be written.
    """
    check_packages(format)
    _, write = FORMATS[format]
    program = traced(network, first_inputs(network, detector, frames[0]))
    with write(program, network, Path(path)) as run:
        found = list(compare(run, network, detector, frames))
        require_same(found)
    return found
