"""Weights that lie in the mapping of a file: which do, and their memory given back.

A mapping is one for a whole file. What was read of it stays in memory as long as anything of it is used, and what was
written into it is a copy of the process's own, which lasts as long. Knows the system's memory; knows no models.
"""

import ctypes
import mmap
from pathlib import Path

import torch

_MAPS = Path("/proc/self/maps")


class Mapped:
    """The mappings of files in this process, looked at anew where a tensor lies in none that is known."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []
        self._advise = getattr(ctypes.CDLL(None), "madvise", None)

    def holds(self, data: torch.Tensor) -> bool:
        """Whether a tensor lies in a file's mapping. What torch took by itself does not, nor does what is unknown."""
        if data.device.type != "cpu" or data.untyped_storage().resizable():
            return False
        begin, end = data.data_ptr(), data.data_ptr() + data.nbytes
        if not self._is_within(begin, end):
            self._spans = _file_spans()
        return self._is_within(begin, end)

    def let_go(self, data: torch.Tensor) -> None:
        """Give the memory of a tensor back that is read no more; nothing where it lies in no mapping."""
        if self._advise is None or not data.is_contiguous() or not self.holds(data):
            return
        begin = (
            -(-data.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        )  # whole pages: its neighbours have the others
        end = (data.data_ptr() + data.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > begin:
            self._advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)

    def _is_within(self, begin: int, end: int) -> bool:
        return any(first <= begin and end <= last for first, last in self._spans)


def _file_spans() -> list[tuple[int, int]]:
    """From where to where files are mapped; none where the system does not say."""
    found = []
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith("/"):
            begin, _, end = parts[0].partition("-")
            found.append((int(begin, 16), int(end, 16)))
    return found
