"""Networks on the voxel volume: history fusion and the 3D encoder."""

from .fpn3d import FPN3D
from .history import StreamingHistory
from .resnet3d import ResNet3D
from .volume_encoder import VolumeEncoder

__all__ = ['FPN3D', 'ResNet3D', 'StreamingHistory', 'VolumeEncoder']
