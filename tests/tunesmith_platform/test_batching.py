"""Reports that arrive together go into one transaction, and none of them pays for another."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tunesmith.errors import DatabaseBusy, StaleAttempt
from tunesmith.events import Report, ReportReceipt
from tunesmith.lifecycle import Desired
from tunesmith_platform.checkpoints import reported
from tunesmith_platform.event_log.listeners import Listeners
from tunesmith_platform.events.batching import Answers, ReportBatcher
from tunesmith_platform.events.ingest import Addressed
from tunesmith_platform.loops import Broken

LISTENERS = Listeners(reported.LISTENER)
LINE = {"kind": "log", "message": "x"}
SAVED = {"kind": "checkpoint", "step": 1, "uri": "u", "bytes": 1, "files": 1, "manifest_sha256": "0"}


def report(*payloads: dict[str, Any]) -> Report:
    events = [
        {"seq": i, "time": "2026-01-01T00:00:00Z", "payload": payload}
        for i, payload in enumerate(payloads, start=1)
    ]
    return Report.model_validate({"attempt": 1, "events": events})


def receipt(sent: Report) -> ReportReceipt:
    return ReportReceipt(last_seq=len(sent.events), desired=Desired.RUN)


class Store:
    """A database that can be held up at its first transaction, and that fails at what it is told."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.may_go = threading.Event()
        self.refuses: Callable[[str], bool] = lambda task_id: False

    def __call__(self, reports: Sequence[Addressed]) -> Answers:
        names = [task_id for task_id, _ in reports]
        self.groups.append(names)
        assert self.may_go.wait(10)
        if any(map(self.refuses, names)):
            raise ValueError(names)
        return [StaleAttempt("over") if name == "stale" else receipt(sent) for name, sent in reports]


def sent_at_once(store: Store, reports: Sequence[Addressed]) -> list[Any]:
    """The answers to reports of which all others arrive while the first is at work."""

    async def main() -> list[Any]:
        gathering = ReportBatcher(store, lanes=1, listeners=LISTENERS)
        sending = [asyncio.create_task(gathering.put(reports[0]))]
        while not store.groups:
            await asyncio.sleep(0)
        sending += [asyncio.create_task(gathering.put(one)) for one in reports[1:]]
        await asyncio.sleep(0)  # each has its turn
        store.may_go.set()
        answers = await asyncio.gather(*sending, return_exceptions=True)
        gathering.close()
        return answers

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "groups"),
    [
        ([report(LINE)] * 4, [["0"], ["1", "2", "3"]]),
        ([report(), report(LINE), report(SAVED), report(LINE)], [["0"], ["1"], ["2"], ["3"]]),
        ([report(LINE), report(*[LINE] * 1500), report(*[LINE] * 501)], [["0"], ["1"], ["2"]]),
        ([report()] * 66, [["0"], [str(i) for i in range(1, 65)], ["65"]]),
    ],
    ids=["together", "what changes more goes alone", "events are bounded", "reports are bounded"],
)
def test_what_arrives_meanwhile_goes_together(sent: list[Report], groups: list[list[str]]) -> None:
    store = Store()
    held: list[Addressed] = [(str(i), one) for i, one in enumerate(sent)]
    answers = sent_at_once(store, held)
    assert answers == [receipt(one) for one in sent]
    assert store.groups == groups


def test_a_report_that_is_refused_or_cannot_be_stored_harms_no_other() -> None:
    store = Store()
    store.refuses = lambda task_id: task_id == "poison"
    names = ["first", "good", "poison", "stale", "last"]
    answers = sent_at_once(store, [(name, report(LINE)) for name in names])
    kinds = [type(answer) for answer in answers]
    assert kinds == [ReportReceipt, ReportReceipt, ValueError, StaleAttempt, ReportReceipt]


def test_it_serves_a_server_that_was_started_again() -> None:
    store = Store()
    store.may_go.set()
    gathering = ReportBatcher(store, lanes=2, listeners=LISTENERS)
    for _ in range(2):  # each with an event loop of its own
        assert asyncio.run(gathering.put(("a", report(LINE)))) == receipt(report(LINE))
        gathering.close()


class Panic(BaseException):
    """What a native library raises when Rust panics: no `Exception`."""


@pytest.mark.parametrize("poison", [Panic("index out of bounds"), SystemExit(1)], ids=repr)
def test_a_report_that_makes_a_library_panic_is_answered_and_so_are_the_others(poison: BaseException) -> None:
    """The event loop must not see it: a `SystemExit` would end the server, a panic leave all of them waiting."""
    store = Store()

    def poisoned(reports: Sequence[Addressed]) -> Answers:
        answers = store(reports)
        if any(name == "b" for name, _ in reports):
            raise poison
        return answers

    poisoned.groups, poisoned.may_go = store.groups, store.may_go  # type: ignore[attr-defined]
    answers = sent_at_once(poisoned, [(name, report(LINE)) for name in "abc"])  # type: ignore[arg-type]
    assert [type(answer) for answer in answers] == [ReportReceipt, Broken, ReportReceipt]


def test_a_database_that_is_away_is_waited_for_once_and_not_for_each_report() -> None:
    """Each alone would wait as long again, and those behind them longer than any answer may take."""

    class Locked(Store):
        def __call__(self, reports: Sequence[Addressed]) -> Answers:
            super().__call__(reports)
            raise DatabaseBusy("The database is locked by another program.")

    store = Locked()
    answers = sent_at_once(store, [(str(i), report(LINE)) for i in range(4)])
    assert store.groups == [["0"], ["1", "2", "3"]]
    assert [type(answer) for answer in answers] == [DatabaseBusy] * 4
