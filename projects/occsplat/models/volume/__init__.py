"""Networks on the voxel volume: history fusion and the 3D encoder."""

from .bev_encoder import BEVEncoder
from .deconv_decoder import DeconvDecoder3D
from .decoupled_encoder import SpatiallyDecoupledEncoder
from .fpn3d import FPN3D
from .history import RewarpedHistory, StreamingHistory
from .lss_fpn3d import LSSFPN3D
from .resnet3d import ResNet3D
from .volume_encoder import VolumeEncoder

__all__ = [
    'BEVEncoder',
    'DeconvDecoder3D',
    'FPN3D',
    'LSSFPN3D',
    'ResNet3D',
    'SpatiallyDecoupledEncoder',
    'RewarpedHistory',
    'StreamingHistory',
    'VolumeEncoder',
]
