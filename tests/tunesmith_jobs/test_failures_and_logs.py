"""From exceptions to reasons, from processor flags to a precision, from logging to bounded log events."""

import errno
import logging
from pathlib import Path

import pytest
from kept_outlet import KeptOutlet

from tunesmith.errors import InvalidData, InvalidInput, InvalidModel
from tunesmith.events import MAX_LOG_CHARACTERS
from tunesmith.lifecycle import Reason
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.failures import NonFinite, StorageFailed, reason_of
from tunesmith_jobs.logs import captured
from tunesmith_jobs.models.precision import choose, cpu_bf16_flags

GONE = "Connection closed by peer"


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


def _caused(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidData("x"), Reason.BAD_DATA),
        (InvalidModel("x"), Reason.BAD_MODEL),
        (InvalidInput("x"), Reason.BAD_PARAMETERS),
        (NonFinite("x"), Reason.NUMERIC),
        (MemoryError(), Reason.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA"), Reason.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), Reason.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), Reason.DISK_FULL),
        (_caused(StorageFailed("x"), OSError(errno.ENOSPC, "full")), Reason.DISK_FULL),
        (_caused(StorageFailed("x"), PermissionError("no")), Reason.STORAGE),
        (RuntimeError("I/O error: No space left on device (os error 28)"), Reason.DISK_FULL),
        (RuntimeError(f"[/src/gloo/transport/tcp/pair.cc:553] {GONE} [127.0.0.1]:34689"), Reason.WORKER_LOST),
        (
            RuntimeError("[/src/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms"),
            Reason.WORKER_LOST,
        ),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), Reason.WORKER_LOST),
        (RuntimeError("gloo/transport is a word in a user's text"), Reason.USER_CODE),
        (ConnectionError(f"{GONE} of a service that the code called"), Reason.USER_CODE),
        (ValueError("a bug"), Reason.USER_CODE),
    ],
)
def test_each_exception_has_its_reason(error: Exception, reason: Reason) -> None:
    assert reason_of(error) is reason


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("fpu sse2 avx2", set()),
        ("fpu avx512_bf16 amx_bf16", {"avx512_bf16", "amx_bf16"}),
        ("amx_bf16x", set()),
    ],
)
def test_bf16_is_what_the_processor_says(tmp_path: Path, flags: str, found: set[str]) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor : 0\nmodel name : x\nflags : {flags}\n\nprocessor : 1\nflags : {flags}\n")
    assert cpu_bf16_flags(info) == found
    choice = choose(TrainSpec(model_name_or_path="m", train_file="t", device="cpu"), info)
    assert choice.precision == ("bf16" if found else "fp32")
    asked = choose(TrainSpec(model_name_or_path="m", train_file="t", device="cpu", precision="fp32"), info)
    assert asked.precision == "fp32"


def test_logging_reaches_the_task_by_level_and_at_a_bounded_rate() -> None:
    kept = KeptOutlet()
    ours, library = logging.getLogger("tunesmith_jobs.anything"), logging.getLogger("transformers.trainer")
    with captured(kept, "info", "worker-0"):
        ours.debug("no")
        ours.info("yes")
        library.info("too chatty")
        library.warning("listen")
        ours.warning("%s", "x" * 20_000)
        logging.getLogger("tunesmith_jobs.report").error("must not feed itself")
        before = len(kept.lines)
        for number in range(5000):
            ours.info("line %d", number)
    assert [(line.level, line.message[:6]) for line in kept.lines[:2]] == [
        ("info", "yes"),
        ("warning", "listen"),
    ]
    assert len(kept.lines[2].message) == MAX_LOG_CHARACTERS
    assert before == 3
    assert 100 < len(kept.lines) - before < 1000
    ours.warning("after the end")
    assert kept.lines[-1].message != "after the end"
