"""What stops a run: data, and numbers."""


class DataError(ValueError):
    """Data that can't be used; names the file or sample and what to do."""


class NonFiniteError(ArithmeticError):
    """A prediction or loss that is NaN or infinite; says where it began."""
