"""From disk to samples: infos, data sets, transforms, samplers."""

from . import transforms
from .nuscenes_occ import NuScenesOccDataset
from .samplers import SequenceSampler

__all__ = ['NuScenesOccDataset', 'SequenceSampler', 'transforms']
