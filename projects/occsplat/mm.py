"""Let mmdet3d be imported: what stands on it imports this first."""

from . import compat

compat.install_ops_stub()
compat.install_numba_stub()
