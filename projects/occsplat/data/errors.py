"""What is wrong with a file of the data set."""


class DataError(ValueError):
    """A file that can't be used; the message names it and what to do."""
