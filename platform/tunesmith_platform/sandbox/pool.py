"""The workers and who has them when: bounds on seconds, memory and bytes out, turns, and an end when the client leaves.

The thread that asks is the one that watches its worker; there is no thread besides, but one that starts processes.
Knows nothing of what is computed. A piece of work must change nothing, for it may be begun again:

- One that has had its turn makes room for another model's or file's, and begins again later with a turn twice as long.
- One whose worker was killed from outside begins again, once.
"""

import functools
import itertools
import json
import logging
import math
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from tunesmith.errors import CheckFailed, ErrorBody, Unavailable, from_body
from tunesmith_platform.caller import Caller, current_caller
from tunesmith_platform.sandbox import process
from tunesmith_platform.sandbox.awaiting import Awaited, key_of
from tunesmith_platform.sandbox.process import AnswerTooLarge, Died, Frame, WorkerProcess

logger = logging.getLogger(__name__)

MAX_WAITING = 64
"""Pieces of work that wait or are under way; whoever asks for more is told to come back."""
MAX_OF_ONE_OWNER = 40
MEMORY_BYTES = 2 * 2**30
LOWEST_PRIORITY = 19
_LOOK_SECONDS = 0.05
_START_SECONDS = 60.0
"""Of waiting for something else than a processor, until a worker is ready."""
_TURN_SECONDS = 2.0
_REMEMBERED = 1000


class Limits(NamedTuple):
    """What one piece of work may take."""

    seconds: float = 20.0
    """Of a processor, and as many again of waiting for files. A worker of lowest priority may have to wait for its
    processor; that is not its work's fault."""
    answer_bytes: int = 8 * 2**20


_USUAL = Limits()


class _Ticket:
    """A piece of work that waits for its turn, or has it."""

    def __init__(self, number: int, about: str, caller: Caller) -> None:
        self.number, self.about, self.owner = number, about, caller.owner
        self.level = 0
        """How often it made room."""
        self.called = threading.Event()
        """Its turn has come, or its caller has left."""
        self.has_left = caller.has_left
        self.slot: _Slot | None = None

    def check_wanted(self) -> None:
        """Raise `Unavailable` where nobody waits for it any more."""
        if self.has_left:
            raise _gone()

    def leave(self) -> None:
        """The caller has left."""
        self.has_left = True
        self.called.set()


class _Slot:
    """A place for one worker."""

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self.ticket: _Ticket | None = None
        self.about: str | None = None
        """What its worker was last busy with, and may still have in memory."""
        self.is_first = True
        """Whether no worker has been started in it."""


class _MadeRoom(Exception):
    """Its turn is over, and another waits."""


class Sandbox:
    """Workers, started when first needed.

    Args:
        processes: How many at most; 0 is one a processor.
        memory_bytes: What one may take.
        file_bytes: How large a file one may write; 0 forbids it to write.
        niceness: Their priority; 19 is the lowest.
    """

    def __init__(
        self,
        processes: int = 0,
        memory_bytes: int = MEMORY_BYTES,
        file_bytes: int = 0,
        niceness: int = LOWEST_PRIORITY,
    ) -> None:
        self._slots = [_Slot() for _ in range(processes or len(os.sched_getaffinity(0)))]
        self._memory_bytes, self._file_bytes, self._niceness = memory_bytes, file_bytes, niceness
        self._lock = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._served: dict[str, int] = {}
        """When each owner and each file or model was last given a worker, as a number that counts up."""
        self._numbers = itertools.count()
        # The system ends a worker with the thread that started it, so this one lives as long as they may.
        self._starter = ThreadPoolExecutor(1, "sandbox")
        self._is_closed = False
        self._awaited = Awaited()

    def run(self, name: str, argument: Mapping[str, Any], *, about: str, limits: Limits = _USUAL) -> bytes:
        """Have a piece of work done, and wait for it; ended early when the caller leaves. Not for the event loop.

        Args:
            name: Which, of `work.TABLE`.
            argument: What it is given; plain data.
            about: The model or file that it reads: no such one takes every worker.
            limits: What it may take.

        Returns:
            Its answer as JSON.

        Raises:
            TunesmithError: What it raised.
            OSError: What it raised.
            CheckFailed: It took more than it may, or ended its process.
            Unavailable: Too many wait, the caller has left, or its patience is over. Then the work goes on, and whoever
                asks the same again gets its answer.
        """
        caller = current_caller()
        work = functools.partial(self._run, name, argument, about, limits)
        if caller.patience_seconds == math.inf:
            return work(caller)
        return self._awaited.answer(key_of(name, argument), work, caller)

    def _run(
        self, name: str, argument: Mapping[str, Any], about: str, limits: Limits, caller: Caller
    ) -> bytes:
        ticket = _Ticket(next(self._numbers), about, caller)
        order = {"name": name, "argument": dict(argument), "seconds": limits.seconds}
        self._admit(ticket)
        with caller.watched(ticket.leave):
            is_again = False
            while True:
                slot = self._turn(ticket)
                try:
                    return _unpacked(self._attend(slot, ticket, order, limits))
                except _MadeRoom:
                    ticket.level += 1
                except Died as died:
                    if is_again:
                        raise _ended(died) from None
                    is_again = True
                finally:
                    self._release(slot)
                self._admit(ticket, is_again=True)

    def warm(self) -> None:
        """Start one worker before anybody waits for it."""
        self._starter.submit(self._ensure, self._slots[0])

    def workers(self) -> list[WorkerProcess]:
        """The processes that run."""
        return [slot.worker for slot in self._slots if slot.worker is not None and slot.worker.is_alive()]

    def close(self) -> None:
        """End every worker; what waits is refused."""
        with self._lock:
            self._is_closed = True
            for ticket in self._waiting:
                ticket.leave()
        for worker in self.workers():
            worker.end()
        self._starter.shutdown(wait=False)

    # --- turns

    def _admit(self, ticket: _Ticket, *, is_again: bool = False) -> None:
        with self._lock:
            busy = [slot.ticket for slot in self._slots if slot.ticket is not None]
            known = [*self._waiting, *busy]
            is_full = len(known) >= MAX_WAITING
            is_many = sum(other.owner == ticket.owner for other in known) >= MAX_OF_ONE_OWNER
            if self._is_closed or ((is_full or is_many) and not is_again):
                raise Unavailable(
                    f"{len(known)} checks of files wait or are under way already.",
                    hint="Try again in a moment.",
                )
            ticket.slot = None
            ticket.called.clear()
            if ticket.has_left:
                ticket.called.set()
            self._waiting.append(ticket)
            self._assign()

    def _assign(self) -> None:
        """Give idle workers to those who wait. The lock is held."""
        while idle := [slot for slot in self._slots if slot.ticket is None]:
            running = [slot.ticket for slot in self._slots if slot.ticket is not None]
            busy_about = {ticket.about for ticket in running}
            # The last idle worker goes to none that has one: whatever else is asked for finds it idle.
            may = [ticket for ticket in self._waiting if len(idle) > 1 or ticket.about not in busy_about]
            if not may:
                return

            def place(ticket: _Ticket, running: list[_Ticket] = running) -> tuple[int, ...]:
                return (
                    ticket.level,
                    sum(other.owner == ticket.owner for other in running),
                    self._served.get(f"owner {ticket.owner}", -1),
                    self._served.get(ticket.about, -1),
                    ticket.number,
                )

            chosen = min(may, key=place)
            slot = min(idle, key=lambda slot: (slot.about != chosen.about, slot.worker is None))
            self._waiting.remove(chosen)
            slot.ticket, chosen.slot = chosen, slot
            now = next(self._numbers)
            for key in (f"owner {chosen.owner}", chosen.about):
                self._served.pop(key, None)
                self._served[key] = now
            while len(self._served) > _REMEMBERED:
                del self._served[next(iter(self._served))]
            chosen.called.set()

    def _turn(self, ticket: _Ticket) -> _Slot:
        """Wait for a worker."""
        ticket.called.wait()
        with self._lock:
            slot = ticket.slot
            if ticket.has_left or slot is None:
                if slot is None:
                    self._waiting.remove(ticket)
                else:
                    slot.ticket = None
                    self._assign()
                ticket.check_wanted()
                raise _gone()
        return slot

    def _release(self, slot: _Slot) -> None:
        with self._lock:
            slot.about = slot.ticket.about if slot.ticket is not None else None
            slot.ticket = None
            self._assign()

    def _another_waits(self, ticket: _Ticket) -> bool:
        with self._lock:
            return any(
                other.about != ticket.about and other.level <= ticket.level and not other.has_left
                for other in self._waiting
            )

    # --- one turn

    def _attend(self, slot: _Slot, ticket: _Ticket, order: dict[str, Any], limits: Limits) -> Frame:
        """What a worker answers; it is replaced where it was stopped instead, or has grown large."""
        worker = self._started(slot)
        is_sound = False
        try:
            self._await_ready(worker, ticket)
            began = worker.usage()
            worker.send(order)
            turn, blocked = _TURN_SECONDS * 2**ticket.level, 0.0
            while (frame := worker.receive(_LOOK_SECONDS, limits.answer_bytes)) is None:
                self._check_wanted(ticket)
                usage = worker.usage()
                blocked += _LOOK_SECONDS * usage.is_blocked
                seconds = max(usage.processor_seconds - began.processor_seconds, blocked)
                if seconds > limits.seconds:
                    raise _over("seconds", f"{limits.seconds:g} seconds", limits.seconds)
                if usage.memory_bytes > self._memory_bytes:
                    raise self._over_memory()
                if seconds > turn and self._another_waits(ticket):
                    raise _MadeRoom
            if frame.kind == process.MEMORY:
                raise self._over_memory()
            is_sound = frame.kind != process.CRASH and worker.usage().memory_bytes < self._memory_bytes // 2
        except AnswerTooLarge:
            raise _over("answer", f"{limits.answer_bytes} bytes", limits.answer_bytes) from None
        finally:
            if not is_sound:
                self._replace(slot)
        return frame

    def _check_wanted(self, ticket: _Ticket) -> None:
        if self._is_closed:
            raise _gone()
        ticket.check_wanted()

    def _over_memory(self) -> CheckFailed:
        return _over("memory", f"{self._memory_bytes // 2**20} MB", self._memory_bytes)

    def _await_ready(self, worker: WorkerProcess, ticket: _Ticket) -> None:
        blocked = 0.0
        while not worker.is_ready:
            if worker.receive(_LOOK_SECONDS, limit=0) is not None:
                worker.is_ready = True
                return
            self._check_wanted(ticket)
            blocked += _LOOK_SECONDS * worker.usage().is_blocked
            if blocked > _START_SECONDS:
                raise Unavailable(
                    "The worker that checks files does not start.", hint="Try again in a moment."
                )

    def _started(self, slot: _Slot) -> WorkerProcess:
        if slot.worker is None or not slot.worker.is_alive():
            try:
                self._starter.submit(self._ensure, slot).result()
            except (OSError, RuntimeError) as error:
                raise Unavailable(
                    f"The worker that checks files does not start: {error}.", hint="Try again in a moment."
                ) from error
        if slot.worker is None:
            raise _gone()
        return slot.worker

    def _ensure(self, slot: _Slot) -> None:
        """Start a slot's worker where none runs. In the starter's thread alone."""
        if self._is_closed or (slot.worker is not None and slot.worker.is_alive()):
            return
        if slot.worker is not None:
            slot.worker.end()
        slot.worker = WorkerProcess(
            self._niceness, self._memory_bytes, self._file_bytes, is_awaited=slot.is_first
        )
        slot.is_first = False

    def _replace(self, slot: _Slot) -> None:
        if slot.worker is not None:
            slot.worker.end()
        slot.worker = None
        if not self._is_closed:
            self._starter.submit(self._ensure, slot)  # who comes next finds it started


def _unpacked(frame: Frame) -> bytes:
    """The answer, or what the work raised."""
    if frame.kind == process.ERROR:
        raise from_body(ErrorBody.model_validate_json(frame.body), 500)
    if frame.kind == process.OS_ERROR:
        number, words, file = json.loads(frame.body)
        raise OSError(number, words, file)
    if frame.kind == process.CRASH:
        logger.error("a check of files failed:\n%s", frame.body.decode(errors="replace"))
        raise CheckFailed(
            "Looking at what was given ended in an error that nobody foresaw.",
            hint="Is the file damaged? `tunesmith logs api` has the details.",
            details={"bound": "none"},
        )
    return frame.body


def _over(bound: str, words: str, limit: float) -> CheckFailed:
    cures = {
        "seconds": "Give a smaller file, or a model whose chat template and tokenizer take less; what runs as a task "
        "has no such limit.",
        "memory": "Give a file whose rows are shorter, or a model with a smaller tokenizer.",
        "answer": "Ask for fewer rows.",
    }
    return CheckFailed(
        f"Looking at what was given takes more than {words}"
        + {"seconds": " of a processor.", "memory": " of memory.", "answer": " to answer."}[bound],
        hint=cures[bound],
        details={"bound": bound, "limit": limit},
    )


def _ended(died: Died) -> CheckFailed:
    return CheckFailed(
        f"Looking at what was given ended its process twice (code {died.code}).",
        hint="Is the file damaged? A library that reads it cannot bear it.",
        details={"bound": "process"},
    )


def _gone() -> Unavailable:
    return Unavailable("The check was ended: its client has left, or the platform ends.", hint="Ask again.")
