"""From an exception to the outcome a user reads: the one mapping of all kinds of jobs.

Knows what our libraries raise; knows nothing of Ray or of reports.
"""

import errno
import shutil
from pathlib import Path

from tunesmith.errors import (
    InvalidData,
    InvalidInput,
    InvalidModel,
    NotFound,
    NotOurs,
    TunesmithError,
    Unavailable,
)
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith.row_problem import RowProblem
from tunesmith.secret_values import hide
from tunesmith.storage_away import StorageAway

_FULL_BELOW_BYTES = 2**20
_MOST_CHARACTERS = 2000


class NonFinite(Exception):
    """The loss or the gradient became NaN or infinite."""


class Superseded(Exception):
    """This attempt is over for the control plane: stop at once and leave no trace."""


class Stopped(Exception):
    """A stop is wanted, by the user or by the machine; the words say what is left of the attempt."""


class BadCheckpoint(Exception):
    """A checkpoint cannot be gone on from: the words say why."""


class NoRoom(Exception):
    """A disk does not hold what is to be written; known before a byte is."""


class PeerLost(Exception):
    """Another worker of the group is gone, and this one cannot go on without it."""


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


def is_peer_lost(error: BaseException) -> bool:
    """Whether an exception says that another worker's end of a connection is gone, as gloo and NCCL do.

    Whoever is left hears of it before Ray does, which looks at nodes now and then.
    """
    text = str(error)
    return (
        ("gloo/transport" in text and ("onnection" in text or "imed out" in text or "closure" in text))
        or "ncclRemoteError" in text
        or "remote process exited" in text
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
    if any(isinstance(item, StorageAway) for item in chain):
        return Reason.STORAGE  # whatever could not be read for it: another attempt may
    for item in chain:
        if isinstance(item, InvalidData | RowProblem):
            return Reason.BAD_DATA
        if isinstance(item, InvalidModel):
            return Reason.BAD_MODEL
        if isinstance(item, InvalidInput | NotOurs):
            return Reason.BAD_PARAMETERS
        if isinstance(item, NonFinite):
            return Reason.NUMERIC
        if is_peer_lost(item):
            return Reason.WORKER_LOST
        if is_out_of_memory(item):
            return Reason.OUT_OF_MEMORY
        if isinstance(item, NoRoom) or _is_disk_full(item, scratch):
            return Reason.DISK_FULL
    is_storage = any(isinstance(item, StorageFailed | Unavailable | NotFound) for item in chain)
    return Reason.STORAGE if is_storage else Reason.USER_CODE


def words_of(error: BaseException) -> str:
    """What an exception says, with what to do next where it knows that; without what looks like a secret.

    It may be the word of a service that repeats what it was shown.
    """
    return hide(_words_of(error))


def _words_of(error: BaseException) -> str:
    if isinstance(error, TunesmithError | RowProblem):
        return f"{error.message} {error.hint or ''}".strip()
    if isinstance(error, MemoryError) and not str(error):
        return "It ran out of memory."
    name = type(error).__name__
    if isinstance(error, LookupError):  # says only what it did not find
        return f"{name}: {error}"
    return str(error) or name


def outcome_of(error: Exception, scratch: Path | None = None) -> Outcome:
    """How an attempt that raised `error` ended.

    Args:
        error: What was raised.
        scratch: Where the attempt wrote, to recognise a full disk.
    """
    if isinstance(error, Superseded):
        return Outcome.of_superseded()
    if isinstance(error, Stopped):
        return Outcome.because(Reason.STOPPED_BY_USER, str(error))
    return Outcome.because(reason_of(error, scratch), words_of(error)[:_MOST_CHARACTERS])
