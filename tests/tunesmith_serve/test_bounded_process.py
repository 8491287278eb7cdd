"""A process is bounded in its own time on a processor: one that is kept waiting by others has done nothing wrong."""

import asyncio
import sys

import pytest

from tunesmith_serve import bounded_process
from tunesmith_serve.bounded_process import kill, within

SECONDS = 0.5


async def _run(program: str) -> int | None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", program)
    try:
        return await within(process, process.wait(), SECONDS)
    finally:
        kill(process)
        await process.wait()


def test_what_waits_is_not_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_process, "_WALL", 1000)
    assert asyncio.run(_run(f"import time; time.sleep({3 * SECONDS})")) == 0


def test_what_computes_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_process, "_WALL", 1000)
    monkeypatch.setattr(bounded_process, "_LOOK_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(_run("while True: pass"))
