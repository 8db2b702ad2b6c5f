"""Register every config type with mmdetection3d.

Configs import this: ``custom_imports = dict(imports=['occsplat.plugin'])``.
"""

from . import compat, data, engine, evaluation, models

# after the mm packages, whose modules it looks through
compat.recompute_without_reentry()
compat.format_configs_once()

__all__ = ['data', 'engine', 'evaluation', 'models']
