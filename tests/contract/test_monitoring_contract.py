"""Logs, warnings, notifications and the workspace on SQLite and on a real PostgreSQL: the same answers."""

import datetime as dt
from collections.abc import Iterator

import pytest
from conftest_platform import LOCAL, Plane

from tunesmith.home import Home
from tunesmith.notifications import NewWebhook
from tunesmith.workspace import Changed, Listed
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.clock import now
from tunesmith_platform.monitoring import workspace
from tunesmith_platform.monitoring.loop import Monitor
from tunesmith_platform.monitoring.repository import LogQuery
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks import repository as tasks


@pytest.fixture
def plane(home: Home, database_url: str) -> Iterator[Plane]:
    plane = Plane(
        home,
        database_url=database_url,
        notify_addresses=["loopback"],
        log_retention_days=7,
    )
    yield plane
    plane.services.database.close()


def test_what_is_told_of_a_task(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "_FRESH_SECONDS", -1.0)
    services = plane.services
    hook = services.notifications.add(LOCAL, NewWebhook(url="http://127.0.0.1:9999/x"))
    (listed,) = services.workspace.after(None)
    assert isinstance(listed, Listed)
    task = plane.running(name="名字")
    plane.report(
        task, *({"kind": "log", "source": f"worker-{i % 2}", "message": f"Zeile Ü{i}"} for i in range(12))
    )
    plane.report(task, *({"kind": "metrics", "step": i, "values": {"loss": 2.0}} for i in range(40)))
    plane.report(task, {"kind": "metrics", "step": 40, "values": {"loss": 30.0}})
    monitors = [Monitor(services.database, services.hub, plane.settings) for _ in range(2)]
    for monitor in monitors:
        monitor.tick()
    page = services.monitoring.search(LOCAL, task.id, LogQuery(text="ü1", sources=("worker-1",)), 0, 10)
    assert [line.message for line in page.data] == ["Zeile Ü1", "Zeile Ü11"]
    assert services.monitoring.search(LOCAL, task.id, LogQuery(until=now(), since=now()), 0, 10).data == []

    plane.report(task, {"kind": "finished", "outcome": "failed", "reason": "numeric", "message": "NaN."})
    plane.job(task, JobStatus.FAILED)
    plane.tick()
    found = services.monitoring.autopsy(LOCAL, task.id)
    assert [warning.code for warning in found.warnings] == ["loss_spike"]
    assert {worker.source for worker in found.workers} == {"worker-0", "worker-1"}
    assert 'tunesmith_tasks{state="failed"} 1.0' in services.monitoring.exposition(0.1)
    changed = services.workspace.after(listed.position)[-1]
    assert isinstance(changed, Changed)
    assert (changed.task.id, changed.task.state) == (task.id, "failed")

    assert services.notifications.enqueue() == 2, "its warning and its end"
    assert services.notifications.enqueue() == 0
    rows = services.notifications.claim_due(4)
    assert services.notifications.claim_due(4) == []
    services.notifications.deliver(rows[0])
    entries = services.notifications.deliveries(LOCAL, hook.id, None, 10).data
    assert [(entry.event, entry.state, entry.tries) for entry in entries] == [
        ("failed", "pending", 0),
        ("warning", "pending", 1),
    ]

    with services.database.write() as session:
        tasks.locked(session, INSTALLATION, task.id).ended_at = now() - dt.timedelta(days=8)
    assert monitors[0].sweep() == 12
    assert services.events.logs(LOCAL, task.id, 100, None, None).data == []
    services.notifications.remove(LOCAL, hook.id)
    services.tasks.delete(LOCAL, task.id, with_files=False)
