"""Voxel losses as pure functions of predictions and labels."""

from .affinity import geo_scal_loss, sem_scal_loss
from .flow import flow_l1_loss
from .focal import log_count_weights, radial_focal_loss, radial_weight
from .lovasz import lovasz_softmax_loss

__all__ = [
    'flow_l1_loss',
    'geo_scal_loss',
    'log_count_weights',
    'lovasz_softmax_loss',
    'radial_focal_loss',
    'radial_weight',
    'sem_scal_loss',
]
