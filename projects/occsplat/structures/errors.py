"""What is wrong with a file of data."""


class DataError(ValueError):
    """A file that can't be used; the message names it and what to do."""
