"""Which rows were there before: exactly, by a hash; or nearly, by MinHash.

Near: a row's text, without case and with single spaces, is the set of its runs of five letters. A signature of 128
hashes estimates which share of runs two rows have in common; candidates are found by bands of four hashes (which miss
hardly any pair that shares more than six runs in ten), and compared by their signatures, so the share is right within
about 0.04. Keeps 16 bytes of a row and, for near ones, about 3 KB of each row that was kept.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HASHES = 128
_BAND = 4
_RUN = 5
_BLOCK = 4096
_WORDS = np.random.default_rng(20_261_121)
_FACTORS = _WORDS.integers(1, 2**63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _WORDS.integers(0, 2**63, _HASHES, dtype=np.uint64)
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)


class Seen:
    """Rows that were there, exactly."""

    def __init__(self) -> None:
        self._sums: set[bytes] = set()

    def is_new(self, row: Mapping[str, Any]) -> bool:
        """Whether a row was not there before; from now on it was."""
        text = json.dumps(row, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        found = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if found in self._sums:
            return False
        self._sums.add(found)
        return True


class SeenNearly:
    """Rows that were there, or nearly."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._exactly = Seen()
        self._signatures: list[NDArray[np.uint32]] = []
        self._bands: dict[bytes, list[int]] = {}

    def is_new(self, row: Mapping[str, Any]) -> bool:
        """Whether nothing like a row was there before; what is new is remembered."""
        if not self._exactly.is_new(row):
            return False
        signature = _signature(_text(row))
        bands = [
            number.to_bytes(1, "big") + signature[number * _BAND : (number + 1) * _BAND].tobytes()
            for number in range(_HASHES // _BAND)
        ]
        candidates = {place for band in bands for place in self._bands.get(band, ())}
        for place in candidates:
            if float(np.mean(self._signatures[place] == signature)) >= self._threshold:
                return False
        for band in bands:
            self._bands.setdefault(band, []).append(len(self._signatures))
        self._signatures.append(signature)
        return True


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
