"""What is wrong with a file of the data set."""

from occsplat.structures import DataError

__all__ = ['DataError']
