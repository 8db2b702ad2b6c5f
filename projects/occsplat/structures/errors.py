"""What stops a run: data, numbers, an installation."""


class DataError(ValueError):
    """Data that can't be used; names the file or sample and what to do."""


class MissingPackageError(ImportError):
    """A package is needed that is not there; the message names it."""


class NonFiniteError(ArithmeticError):
    """A prediction or loss that is NaN or infinite; says where it began."""
