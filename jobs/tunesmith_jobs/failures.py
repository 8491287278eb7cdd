"""From an exception to the reason a user reads.

Knows what our libraries raise; knows nothing of Ray or of reports.
"""

import errno
import shutil
from pathlib import Path

from tunesmith.errors import InvalidData, InvalidInput, InvalidModel, NotOurs, Unavailable
from tunesmith.lifecycle import Reason

_FULL_BELOW_BYTES = 2**20


class NonFinite(Exception):
    """The loss or the gradient became NaN or infinite."""


class Superseded(Exception):
    """This attempt is over for the control plane: stop at once and leave no trace."""


class BadCheckpoint(Exception):
    """A checkpoint cannot be gone on from: the words say why."""


class StorageFailed(Exception):
    """The storage did not take a checkpoint or the model."""


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__
    return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    # By name: this module must not import torch only to compare a class.
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in text
        or "CUDA out of memory" in text
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )


def _is_disk_full(error: BaseException, scratch: Path | None) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    if "No space left on device" in text or "os error 28" in text:
        return True
    # torch's writer says only that it failed.
    is_write = "PytorchStreamWriter" in text or "failed writing" in text
    return bool(is_write and scratch and shutil.disk_usage(scratch).free < _FULL_BELOW_BYTES)


def reason_of(error: BaseException, scratch: Path | None = None) -> Reason:
    """Why a run that raised `error` ended. `scratch` is where it wrote, to tell a full disk."""
    chain = _chain(error)
    for item in chain:
        if isinstance(item, InvalidData):
            return Reason.BAD_DATA
        if isinstance(item, InvalidModel):
            return Reason.BAD_MODEL
        if isinstance(item, InvalidInput | NotOurs):
            return Reason.BAD_PARAMETERS
        if isinstance(item, NonFinite):
            return Reason.NUMERIC
        if is_out_of_memory(item):
            return Reason.OUT_OF_MEMORY
        if _is_disk_full(item, scratch):
            return Reason.DISK_FULL
    is_storage = any(isinstance(item, StorageFailed | Unavailable) for item in chain)
    return Reason.STORAGE if is_storage else Reason.USER_CODE
