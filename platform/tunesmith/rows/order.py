"""The order in which rows are trained: written down once by a job, so that a step leads to its rows ever after.

The rows of an optimizer step are a function of (seed, epoch, step): batches, accumulation and workers only deal them
out. So a job keeps which rows of the file each sample holds, 4 bytes a row, and nothing a step. Knows numbers; knows
nothing of text, tensors or files.
"""

import json
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ORDER_FILE = "rows.bin"
"""Its name in a task's artifact folder."""
_HEAD_BYTES = 4096


def shuffled(
    samples: int, seed: int, epoch: int, *, reshuffles: bool
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The order of an epoch's samples. One seeded shuffle serves all epochs unless `reshuffles`."""
    import numpy as np

    return np.random.default_rng([seed, epoch if reshuffles else 0]).permutation(samples)


@dataclass(frozen=True)
class RowOrder:
    """Which rows of the training file every step of a run takes."""

    seed: int
    reshuffles: bool
    samples_per_step: int
    """What all workers train on in one optimizer step."""
    bounds: Sequence[int]
    """Where each sample's rows begin in `numbers`, and where the last one's end."""
    numbers: Sequence[int]
    """Row numbers in the file, from 1, sample by sample: several where documents lie in one sample."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps until every sample was taken once."""
        return -(-(len(self.bounds) - 1) // self.samples_per_step)

    def rows_of(self, step: int) -> tuple[int, list[int]]:
        """The epoch, from 0, and the file's rows, in its order, that a step (from 1) trains on."""
        epoch, within = divmod(step - 1, self.steps_per_epoch)
        order = shuffled(len(self.bounds) - 1, self.seed, epoch, reshuffles=self.reshuffles)
        first = within * self.samples_per_step
        found: set[int] = set()
        for sample in order[first : first + self.samples_per_step].tolist():
            found.update(self.numbers[self.bounds[sample] : self.bounds[sample + 1]])
        return epoch, sorted(found)

    def encode(self) -> bytes:
        """A line of JSON, then `bounds` and `numbers`, 4 bytes each."""
        head = {
            "seed": self.seed, "reshuffles": self.reshuffles, "samples_per_step": self.samples_per_step,
            "samples": len(self.bounds) - 1, "rows": len(self.numbers),
        }  # fmt: skip
        parts = [array("I", self.bounds), array("I", self.numbers)]
        return json.dumps(head).encode() + b"\n" + b"".join(_little_endian(part).tobytes() for part in parts)

    @classmethod
    def decode(cls, data: bytes) -> "RowOrder | None":
        """What `encode` wrote; None when it is something else."""
        head, _, body = data.partition(b"\n") if b"\n" in data[:_HEAD_BYTES] else (b"", b"", b"")
        try:
            found = json.loads(head)
            samples, rows = int(found["samples"]), int(found["rows"])
            seed, per_step = int(found["seed"]), int(found["samples_per_step"])
            reshuffles = bool(found["reshuffles"])
        except (ValueError, KeyError, TypeError):
            return None
        if min(samples, rows, per_step) < 1 or len(body) != 4 * (samples + 1 + rows):
            return None
        numbers = array("I")
        numbers.frombytes(body)
        numbers = _little_endian(numbers)
        return cls(seed, reshuffles, per_step, numbers[: samples + 1], numbers[samples + 1 :])


def _little_endian(numbers: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers
