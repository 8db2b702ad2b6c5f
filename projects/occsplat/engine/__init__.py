"""What drives a run: runner, hooks, checks, checkpoints."""

from .checkpoint import (
    latest_checkpoint,
    load_model_weights,
    read_checkpoint,
)
from .config_check import check_config
from .errors import CheckpointError, ConfigError, user_errors
from .launch import load_config, prepare_launcher
from .public_weights import PublicWeights
from .runner import OccRunner
from .sample_sheet_hook import SampleSheetHook
from .warmup_hook import WarmupSwitchHook

__all__ = [
    'CheckpointError',
    'ConfigError',
    'OccRunner',
    'PublicWeights',
    'SampleSheetHook',
    'WarmupSwitchHook',
    'check_config',
    'latest_checkpoint',
    'load_config',
    'load_model_weights',
    'prepare_launcher',
    'read_checkpoint',
    'user_errors',
]
