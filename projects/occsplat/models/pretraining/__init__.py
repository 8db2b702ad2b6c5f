"""Image encoders that learn from pixels, before there is a volume."""

from .depth_semantics import DepthSemanticPretraining

__all__ = ['DepthSemanticPretraining']
