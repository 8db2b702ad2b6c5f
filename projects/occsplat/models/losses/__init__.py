"""Voxel losses as pure functions of predictions and labels."""

from .affinity import geo_scal_loss, sem_scal_loss
from .class_balance import balanced_class_weights, voxel_cross_entropy_loss
from .flow import flow_l1_loss
from .focal import log_count_weights, radial_focal_loss, radial_weight
from .image import image_kl_loss, image_l1_loss, masked_depth_loss
from .lidar import balanced_cross_entropy, distortion_loss, silog_loss
from .lovasz import lovasz_softmax_loss
from .offset import offset_l1_loss
from .voxel_losses import ClassWeights, VoxelLosses

__all__ = [
    'ClassWeights',
    'VoxelLosses',
    'balanced_class_weights',
    'balanced_cross_entropy',
    'distortion_loss',
    'flow_l1_loss',
    'geo_scal_loss',
    'image_kl_loss',
    'image_l1_loss',
    'log_count_weights',
    'lovasz_softmax_loss',
    'masked_depth_loss',
    'offset_l1_loss',
    'radial_focal_loss',
    'radial_weight',
    'sem_scal_loss',
    'silog_loss',
    'voxel_cross_entropy_loss',
]
