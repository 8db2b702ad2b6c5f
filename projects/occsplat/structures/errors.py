"""What stops a run: files of data, and numbers."""


class DataError(ValueError):
    """A file that can't be used; the message names it and what to do."""


class NonFiniteError(ArithmeticError):
    """A prediction or loss that is NaN or infinite; says where it began."""
