"""Events go to those that registered for their kind, each report's together and in order; nobody hears of others."""

from collections.abc import Sequence
from typing import Any

from tunesmith.events import CheckpointRemoved, CheckpointSaved, DatasetMade, JobEvent
from tunesmith_platform.event_log.listeners import Listener, Listeners
from tunesmith_platform.scope import INSTALLATION

SAVED = {"kind": "checkpoint", "uri": "u", "bytes": 1, "files": 1, "manifest_sha256": "0"}
TASK: Any = object()
ATTEMPT: Any = object()
SESSION: Any = object()


def events(*payloads: dict[str, Any]) -> list[JobEvent]:
    return [
        JobEvent.model_validate({"seq": seq, "time": "2026-01-01T00:00:00Z", "payload": payload})
        for seq, payload in enumerate(payloads, start=1)
    ]


class Ear:
    """Notes what it hears, in a list that is shared."""

    def __init__(self, name: str, heard: list[tuple[str, list[int]]]) -> None:
        self.name, self.heard = name, heard

    def __call__(self, session: Any, scope: Any, task: Any, attempt: Any, heard: Sequence[JobEvent]) -> None:
        assert (session, scope, task, attempt) == (SESSION, INSTALLATION, TASK, ATTEMPT)
        self.heard.append((self.name, [event.seq for event in heard]))


def test_each_hears_of_its_kinds_in_order_and_once_a_report() -> None:
    heard: list[tuple[str, list[int]]] = []
    listeners = Listeners(
        Listener((CheckpointSaved, CheckpointRemoved), Ear("files", heard)),
        Listener((DatasetMade,), Ear("data", heard)),
        Listener((CheckpointSaved,), Ear("quota", heard)),
    )
    reported = events(
        SAVED | {"step": 1},
        {"kind": "log", "message": "x"},
        {"kind": "checkpoint_removed", "step": 1},
        SAVED | {"step": 2},
    )
    listeners.tell(SESSION, INSTALLATION, TASK, ATTEMPT, reported)
    assert heard == [("files", [1, 3, 4]), ("quota", [1, 4])]


def test_what_somebody_hears_of_or_changes_the_attempt_goes_alone() -> None:
    nobody, some = Listeners(), Listeners(Listener((CheckpointSaved,), Ear("x", [])))
    begun = {"kind": "training_started", "step": 0, "total_steps": 1}
    assert nobody.concern(events({"kind": "log", "message": "x"}, begun))
    assert not nobody.concern(events(SAVED | {"step": 1}))
    assert some.concern(events({"kind": "log", "message": "x"}, SAVED | {"step": 1}))
    assert not some.concern(events({"kind": "log", "message": "x"}))
