"""From disk to samples: infos, data sets, transforms, samplers."""

from . import transforms
from .errors import DataError
from .nuscenes_occ import NuScenesOccDataset
from .sample_seed import SampleIndex, drawn_for
from .samplers import SequenceSampler

__all__ = [
    'DataError',
    'NuScenesOccDataset',
    'SampleIndex',
    'SequenceSampler',
    'drawn_for',
    'transforms',
]
