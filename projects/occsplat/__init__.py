"""OccSplat: Gaussian-rendering losses for 3D occupancy networks.

Importing the package registers every config type with mmdetection3d.
"""

from . import compat

# before anything imports mmdet3d, which asks for mmcv's compiled ops and
# for numba
compat.install_ops_stub()
compat.install_numba_stub()

from . import data, engine, evaluation, models  # noqa: E402

# after the mm packages, whose modules it looks through
compat.recompute_without_reentry()

__all__ = ['compat', 'data', 'engine', 'evaluation', 'models']
