"""Detectors as graphs in files, ONNX or torch.export's.

::

    detector = init_model(CONFIG, CHECKPOINT)
    network = ExportedNetwork(detector, rig, fixed=True, past=False)
    for difference in export(network, detector, frames, 'onnx', path):
        print(difference)
"""

from .check import Difference, compare, require_same
from .errors import ExportError
from .graph import FORMATS, check_packages, onnx_runner, operators
from .network import ExportedNetwork
from .past import Past, PastInputs
from .write import export

__all__ = [
    'FORMATS',
    'Difference',
    'ExportError',
    'ExportedNetwork',
    'Past',
    'PastInputs',
    'check_packages',
    'compare',
    'export',
    'onnx_runner',
    'operators',
    'require_same',
]
