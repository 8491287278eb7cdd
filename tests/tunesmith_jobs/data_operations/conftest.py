"""Files of rows, and the operations on them."""

from operated import file, work

__all__ = ["file", "work"]
