"""Brings reports that arrive at the same time into one transaction: a commit costs more than what it writes.

Nothing waits on purpose: a report that finds no other at work goes at once, and what arrives meanwhile goes together.
Lives on the event loop; knows neither the database nor what becomes of a report.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tunesmith.errors import Unavailable
from tunesmith.events import MAX_BATCH_EVENTS, ReportReceipt
from tunesmith_platform.event_log.listeners import Listeners
from tunesmith_platform.events.ingest import Addressed
from tunesmith_platform.loops import contained

MANY = 64
"""Reports of a transaction at the most."""
Answers = Sequence[ReportReceipt | Exception]


class ReportBatcher:
    """The reports of one process on their way into the database.

    Args:
        store: Stores reports in one transaction, in a thread, and answers each in its place.
        lanes: How many of these may be at work at once.
        listeners: Who hears of more than the log: such a report goes alone.
    """

    def __init__(
        self, store: Callable[[Sequence[Addressed]], Answers], lanes: int, listeners: Listeners
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._listeners = listeners
        self._threads: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[Addressed, asyncio.Future[ReportReceipt]]] = deque()
        self._at_work: set[asyncio.Task[None]] = set()

    async def put(self, report: Addressed) -> ReportReceipt:
        """Have a report stored; its answer, or what is raised, is that of `store`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a server that was started again in this process
            self.close()
            self._loop, self._threads = loop, ThreadPoolExecutor(self._lanes, "reports")
            self._waiting.clear()
            self._at_work.clear()
        answer: asyncio.Future[ReportReceipt] = loop.create_future()
        self._waiting.append((report, answer))
        if len(self._at_work) < self._lanes:
            lane = loop.create_task(self._work())
            self._at_work.add(lane)
            lane.add_done_callback(self._at_work.discard)
        return await answer

    def close(self) -> None:
        """End the threads, once what they are at is stored."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._loop = None

    async def _work(self) -> None:
        while self._waiting:
            group = self._next()
            stored = await self._stored([report for report, _ in group])
            for (_, answer), found in zip(group, stored, strict=True):
                if answer.done():  # nobody waits any more
                    continue
                if isinstance(found, Exception):
                    answer.set_exception(found)
                else:
                    answer.set_result(found)

    def _next(self) -> Sequence[tuple[Addressed, asyncio.Future[ReportReceipt]]]:
        group = [self._waiting.popleft()]
        # What else a weighty one changes, its quota among it, belongs to a transaction of its own.
        if self._listeners.concern(group[0][0][1].events):
            return group
        room = MAX_BATCH_EVENTS - len(group[0][0][1].events)
        while self._waiting and len(group) < MANY:
            _, report = self._waiting[0][0]
            room -= len(report.events)
            if room < 0 or self._listeners.concern(report.events):
                break
            group.append(self._waiting.popleft())
        return group

    async def _stored(self, reports: Sequence[Addressed]) -> Answers:
        run = asyncio.get_running_loop().run_in_executor
        try:
            return await run(self._threads, contained, functools.partial(self._store, reports))
        except (
            Unavailable
        ) as error:  # none of them can be stored now: each tried alone would wait as long again
            return [error] * len(reports)
        except Exception as error:
            if len(reports) == 1:
                return [error]
        # One that cannot be stored must not keep the others out.
        answers: list[ReportReceipt | Exception] = []
        for report in reports:
            try:
                answers += await run(self._threads, contained, functools.partial(self._store, [report]))
            except Exception as error:
                answers.append(error)
        return answers
