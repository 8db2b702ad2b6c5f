"""From disk to samples: infos, data sets, transforms, samplers."""

from occsplat import mm  # noqa: F401  before anything of mmdet3d

from . import sets, transforms
from .errors import DataError
from .label_set import LabelFile, LabelSet, VoxelLabels
from .nuscenes_occ import NuScenesOccDataset
from .occ_dataset import OccDataset
from .sample_seed import SampleIndex, drawn_for
from .samplers import SequenceSampler

__all__ = [
    'DataError',
    'LabelFile',
    'LabelSet',
    'NuScenesOccDataset',
    'OccDataset',
    'SampleIndex',
    'SequenceSampler',
    'VoxelLabels',
    'drawn_for',
    'sets',
    'transforms',
]
