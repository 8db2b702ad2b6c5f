"""Public checkpoints' names for what the models here call differently.

One module a checkpoint. A key map is a function ``(state, module)`` that
yields ``Renamed`` tensors (renamed, split, joined or resized) under the
detector's own names, and ``Dropped`` keys that the detector has no use
for. What it yields neither way, ``PublicWeights`` lists as unused.

To add a checkpoint: write ``<name>.py`` with such a function and an
``ADDRESS``, say in its docstring what of the checkpoint's layout is
documented and what is inferred, and enter both below. Configs then say
``init_cfg=dict(type='PublicWeights', checkpoint=..., key_map='<name>')``.
"""

from . import (
    bevdet_det,
    bevdet_occ,
    eva02_det,
    fbocc_r50,
    fcos3d_r101,
    intern_det,
    r50_depth,
    surroundocc,
    swin_imagenet,
    tpvformer,
)
from .parts import Dropped, KeyMap, Renamed, drop_prefixes, rename_prefixes

#: by the name that configs use
KEY_MAPS: dict[str, KeyMap] = {
    'bevdet_det': bevdet_det.bevdet_det,
    'bevdet_occ': bevdet_occ.bevdet_occ,
    'eva02_det': eva02_det.eva02_det,
    'fbocc_r50': fbocc_r50.fbocc_r50,
    'fcos3d_r101': fcos3d_r101.fcos3d_r101,
    'intern_det': intern_det.intern_det,
    'r50_depth': r50_depth.r50_depth,
    'surroundocc': surroundocc.surroundocc,
    'swin_imagenet': swin_imagenet.swin_imagenet,
    'tpvformer': tpvformer.tpvformer,
}
#: where each one's checkpoint is published
ADDRESSES: dict[str, str] = {
    'bevdet_det': bevdet_det.ADDRESS,
    'bevdet_occ': bevdet_occ.ADDRESS,
    'eva02_det': eva02_det.ADDRESS,
    'fbocc_r50': fbocc_r50.ADDRESS,
    'fcos3d_r101': fcos3d_r101.ADDRESS,
    'intern_det': intern_det.ADDRESS,
    'r50_depth': r50_depth.ADDRESS,
    'surroundocc': surroundocc.ADDRESS,
    'swin_imagenet': swin_imagenet.ADDRESS,
    'tpvformer': tpvformer.ADDRESS,
}

__all__ = [
    'ADDRESSES',
    'KEY_MAPS',
    'Dropped',
    'KeyMap',
    'Renamed',
    'drop_prefixes',
    'rename_prefixes',
]
