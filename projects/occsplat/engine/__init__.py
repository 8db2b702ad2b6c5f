"""What drives a run: runner, hooks, checks, checkpoints."""

from occsplat import mm  # noqa: F401  before anything of mmdet3d

from .checkpoint import (
    TRAIN_ONLY,
    latest_checkpoint,
    load_model_weights,
    read_checkpoint,
    read_weights,
    update_meta,
)
from .checkpoint_hook import KeepingCheckpointHook
from .config_check import check_config
from .config_file import add_cfg_options
from .errors import CheckpointError, ConfigError, build_errors, user_errors
from .finite_gradient_hook import FiniteGradientHook
from .inference import (
    build_frames,
    build_split,
    inference_occ,
    init_model,
    raw_views,
)
from .launch import leave_processes, load_config, prepare_launcher
from .layer_decay import LayerDecayOptimWrapperConstructor
from .opacity_threshold import threshold_head, threshold_meta
from .param_groups import GroupedOptimWrapperConstructor
from .pretrained import Pretrained
from .public_weights import PublicWeights
from .resume_point_hook import ResumePointHook
from .runner import OccRunner
from .safetensors_files import SUFFIX as SAFETENSORS
from .safetensors_files import write_safetensors
from .sample_sheet_hook import SampleSheetHook
from .save_boxes_hook import SaveBoxesHook
from .save_predictions_hook import SavePredictionsHook
from .threads import default_threads, limit_threads
from .train_loop import ResumableTrainLoop
from .vis_backends import MLflowVisBackend, WandbVisBackend
from .warmup_hook import WarmupSwitchHook
from .weight_sources import local_file
from .work_dir import check_file, locked

__all__ = [
    'CheckpointError',
    'ConfigError',
    'FiniteGradientHook',
    'GroupedOptimWrapperConstructor',
    'KeepingCheckpointHook',
    'LayerDecayOptimWrapperConstructor',
    'MLflowVisBackend',
    'OccRunner',
    'Pretrained',
    'PublicWeights',
    'ResumableTrainLoop',
    'ResumePointHook',
    'SAFETENSORS',
    'SampleSheetHook',
    'SaveBoxesHook',
    'SavePredictionsHook',
    'TRAIN_ONLY',
    'WandbVisBackend',
    'WarmupSwitchHook',
    'add_cfg_options',
    'build_errors',
    'build_frames',
    'build_split',
    'check_config',
    'check_file',
    'default_threads',
    'inference_occ',
    'init_model',
    'latest_checkpoint',
    'leave_processes',
    'limit_threads',
    'load_config',
    'load_model_weights',
    'local_file',
    'locked',
    'prepare_launcher',
    'raw_views',
    'read_checkpoint',
    'read_weights',
    'threshold_head',
    'threshold_meta',
    'update_meta',
    'user_errors',
    'write_safetensors',
]
