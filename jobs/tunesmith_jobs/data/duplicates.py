"""Which rows were there before: exactly, by a hash; or nearly, by MinHash.

Near: a row's text, without case and with single spaces, is the set of its runs of five letters. A signature of 128
hashes estimates which share of runs two rows have in common; candidates are found by bands of four hashes (which miss
hardly any pair that shares more than six runs in ten), and compared by their signatures, so the share is right within
about 0.04. What is kept of rows lies in files from some number of rows on, for near ones all of it (about 2 KB of each
row that was kept): memory is bounded.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith_jobs.data.disk_hash_table import Columns, Slots

MAX_IN_MEMORY = 4_000_000
"""Rows whose sums are kept in memory; about 120 bytes each."""
_HASHES = 128
_BAND = 4
_BANDS = _HASHES // _BAND
_RUN = 5
_MOST = 1000
"""Rows that one is compared with: rows that share a template share bands with all others."""
_BLOCK = 4096
_WORDS = np.random.default_rng(20_261_121)
_FACTORS = _WORDS.integers(1, 2**63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _WORDS.integers(0, 2**63, _HASHES, dtype=np.uint64)
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)


class Seen:
    """Rows that were there, exactly. The first ones in memory, those behind them in files.

    Args:
        folder: For its files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sums: set[bytes] = set()
        self._slots: Slots | None = None

    def is_new(self, row: Mapping[str, Any]) -> bool:
        """Whether a row was not there before; from now on it was."""
        text = json.dumps(row, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        found = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if found in self._sums:
            return False
        if len(self._sums) < MAX_IN_MEMORY:
            self._sums.add(found)
            return True
        if self._slots is None:
            self._slots = Slots(self._folder / "sums")
        key = np.frombuffer(found[:8], dtype=np.uint64)
        rest = int.from_bytes(found[8:], "little") >> 1
        if self._slots.get(key)[0] == rest:
            return False
        self._slots.put(key, rest)
        return True


class SeenNearly:
    """Rows that were there, or nearly.

    Args:
        threshold: From which share of common runs on two are the same.
        folder: For its files.
    """

    def __init__(self, threshold: float, folder: Path) -> None:
        self._threshold = threshold
        self._exactly = Seen(folder)
        self._slots = Slots(folder / "bands")
        self._signatures = Columns(folder / "signatures", _HASHES, np.uint32)
        self._before = Columns(folder / "before", _BANDS, np.int64)
        """Of each row that was kept, the one before it with the same band."""

    def is_new(self, row: Mapping[str, Any]) -> bool:
        """Whether nothing like a row was there before; what is new is remembered."""
        if not self._exactly.is_new(row):
            return False
        signature = _signature(_text(row))
        bands = _bands(signature)
        last = self._slots.get(bands)
        places = self._sharing(last)
        if places:
            alike = self._signatures.take(np.fromiter(places, dtype=np.int64)) == signature
            if float(alike.mean(axis=1).max()) >= self._threshold:
                return False
        self._slots.put(bands, len(self._signatures))
        self._signatures.append(signature)
        self._before.append(last)
        return True

    def _sharing(self, last: NDArray[np.int64]) -> set[int]:
        """The rows that have a band in common with one whose bands lead to these."""
        found: set[int] = set()
        for band in np.flatnonzero(last >= 0).tolist():
            place = int(last[band])
            while place >= 0 and len(found) < _MOST:
                found.add(place)
                place = int(self._before.take(np.array([place]))[0, band])
        return found


def _bands(signature: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """A key for each band of a signature, and for no other band's."""
    keys = np.arange(1, _BANDS + 1, dtype=np.uint64)
    parts = signature.reshape(_BANDS, _BAND).astype(np.uint64)
    with np.errstate(over="ignore"):
        for place in range(_BAND):
            keys = (keys ^ parts[:, place]) * _MIX
            keys ^= keys >> np.uint64(29)
    return keys


def _text(row: Mapping[str, Any]) -> str:
    words = (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in row.values()
    )
    return " ".join(" ".join(words).casefold().split())


def _signature(text: str) -> NDArray[np.uint32]:
    letters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    if len(letters) < _RUN:
        letters = np.concatenate([letters, np.zeros(_RUN - len(letters), dtype=np.uint64)])
    least = np.full(_HASHES, np.iinfo(np.uint64).max, dtype=np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(letters, _RUN)
    with np.errstate(over="ignore"):
        for start in range(0, len(runs), _BLOCK):
            block = runs[start : start + _BLOCK]
            sums = np.zeros(len(block), dtype=np.uint64)
            for place in range(_RUN):
                sums = (sums ^ block[:, place]) * _MIX
                sums ^= sums >> np.uint64(29)
            hashed = np.unique(sums)[:, None] * _FACTORS + _OFFSETS
            hashed ^= hashed >> np.uint64(32)
            least = np.minimum(least, (hashed * _MIX).min(axis=0))
    return (least >> np.uint64(32)).astype(np.uint32)
