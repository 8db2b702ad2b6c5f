"""Networks: the detector and everything that is plugged into it."""

from occsplat import mm  # noqa: F401  before anything of mmdet3d

from . import (
    backbones,
    heads,
    lifting,
    losses,
    pretraining,
    render_heads,
    volume,
)
from .data_preprocessor import OccDataPreprocessor
from .detector import OccDetector
from .flip_tta import MIRRORS, FlipTTA

__all__ = [
    'MIRRORS',
    'FlipTTA',
    'OccDataPreprocessor',
    'OccDetector',
    'backbones',
    'heads',
    'lifting',
    'losses',
    'pretraining',
    'render_heads',
    'volume',
]
