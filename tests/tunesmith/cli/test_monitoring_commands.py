"""`tunesmith tasks autopsy`, `tasks logs --find`, `webhooks ...` and `watch`, against the real control plane."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane, home
from served import served
from waiting import free_port

from tunesmith.cli import watching_many
from tunesmith.client import Client
from tunesmith.notifications import EMAIL
from tunesmith.workspace import Changed, Deleted, Listed, TaskLine
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.monitoring import workspace

__all__ = ["home"]


@pytest.fixture
def plane(home: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A control plane that answers where the command line looks."""
    plane = Plane(home, notify_addresses=["public", "private", "loopback"], max_concurrent_jobs=3)
    with served(plane.app, plane.api_key, monkeypatch):
        yield plane


def finish(plane: Plane, task: Any, reason: str = "completed", outcome: str = "completed") -> None:
    plane.report(task, {"kind": "finished", "outcome": outcome, "reason": reason, "message": "2 GiB short."})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()


def test_an_autopsy_reads_as_a_page(plane: Plane, cli: Callable[..., Any]) -> None:
    task = plane.running(name="ember")
    for step in (1, 2, 3):
        values = {"loss": 2.0, "memory_bytes": step * 2.0**30}
        plane.report(task, {"kind": "metrics", "step": step, "values": values})
    plane.report(task, {"kind": "log", "level": "error", "source": "worker-1", "message": "last words"})
    finish(plane, task, "out_of_memory", "failed")
    said = cli("tasks", "autopsy", "ember")
    assert said.code == 0
    for words in (
        "It ran out of memory.",
        "2 GiB short.",
        "yours",
        "worker-1",
        "last words",
        "3.0 GiB",
        "none",
    ):
        assert words in said.out, words
    assert "per_device_train_batch_size" in said.out
    assert json.loads(cli("tasks", "autopsy", "ember", "--json").out)["reason"] == "out_of_memory"


def test_a_log_is_searched_and_saved(plane: Plane, cli: Callable[..., Any], tmp_path: Path) -> None:
    task = plane.running(name="ember")
    lines = ({"kind": "log", "source": f"worker-{i % 2}", "message": f"line {i}"} for i in range(1500))
    plane.report(task, *lines)
    assert len(cli("tasks", "logs", "ember").out.splitlines()) == 200
    assert len(cli("tasks", "logs", "ember", "--source", "worker-1").out.splitlines()) == 750
    found = cli("tasks", "logs", "ember", "--find", "LINE 149", "--json").out.splitlines()
    assert [json.loads(line)["message"] for line in found] == [
        "line 149",
        *(f"line 149{i}" for i in range(10)),
    ]
    file = tmp_path / "ember.log"
    assert cli("tasks", "logs", "ember", "--save", str(file)).code == 0
    assert len(file.read_text().splitlines()) == 1500
    assert not list(tmp_path.glob("*.part"))
    assert cli("tasks", "logs", "ember", "--find", "x", "--follow").code == 1


def test_webhooks_are_added_tried_and_removed(plane: Plane, cli: Callable[..., Any]) -> None:
    assert "No webhooks" in cli("webhooks", "list").err
    url = f"http://127.0.0.1:{free_port()}/hook"
    added = json.loads(cli("webhooks", "add", url, "--event", "failed", "--json").out)
    assert added["events"] == ["failed"]
    said = cli("webhooks", "add", url)
    assert said.out.startswith("whsec_")
    listed = cli("webhooks", "list")
    assert added["id"] in listed.out
    assert "whsec_" not in listed.out
    tried = cli("webhooks", "test", added["id"])
    assert (tried.code, "cannot be reached" in tried.err) == (1, True)
    assert "failed" in cli("webhooks", "deliveries", added["id"]).out
    assert "TUNESMITH_SMTP_HOST" in cli("webhooks", "test", EMAIL).err
    assert cli("webhooks", "remove", added["id"]).code == 0
    assert cli("webhooks", "remove", added["id"]).code == 1
    assert cli("webhooks", "add", "ftp://example.com/").code == 1


def test_the_list_of_tasks_is_followed_over_a_lost_position(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plane.running(name="first")
    with Client() as client:
        changes = client.monitoring.tasks()
        listed = next(changes)
        assert isinstance(listed, Listed)
        assert [line.id for line in listed.tasks] == [first.id]
        second = plane.submit(name="second")
        change = next(changes)
        assert isinstance(change, Changed)
        assert (change.task.id, change.task.state) == (second.id, "pending")
        plane.report(first, {"kind": "progress", "step": 5, "total_steps": 10})
        while not (isinstance(change := next(changes), Changed) and change.task.progress.percent == 50):
            pass
        plane.services.tasks.stop(LOCAL, second.id)
        plane.services.tasks.delete(LOCAL, second.id, with_files=False)
        while not isinstance(change := next(changes), Deleted):
            pass
        assert change.id == second.id
        changes.close()  # type: ignore[attr-defined]
    reader = plane.services.workspace
    assert reader.after(change.position) == [], "it goes on after what was read"
    (again,) = reader.after("another-7")
    assert isinstance(again, Listed), "a position of another process begins anew"
    other = workspace.Workspace(plane.services.database, plane.settings, LOCAL)
    assert isinstance(other.after(change.position)[0], Listed)


def test_positions_lose_nothing_and_old_ones_begin_anew(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "_FRESH_SECONDS", -1.0)
    monkeypatch.setattr(workspace, "KEPT", 3)
    reader = workspace.Workspace(plane.services.database, plane.settings, LOCAL)
    start = reader.after(None)[0].position
    tasks = [plane.submit() for _ in range(3)]
    changes = reader.after(start)
    assert [change.task.id for change in changes if isinstance(change, Changed)] == [
        task.id for task in tasks
    ]
    assert reader.after(changes[0].position) == changes[1:]
    plane.submit()
    assert len(reader.after(changes[0].position)) == 3
    assert isinstance(reader.after(start)[0], Listed), "more has happened than is kept"


def test_watch_shows_all_live_tasks_until_none_is(
    plane: Plane, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [plane.running(name=name) for name in ("one", "two")]
    said_of: list[str] = []
    both_shown = threading.Event()
    real = watching_many.said

    def listened(line: TaskLine) -> str:
        said_of.append(line.name)
        if set(said_of) == {"one", "two"}:
            both_shown.set()
        return real(line)

    def end() -> None:
        both_shown.wait(60)
        for task in tasks:
            finish(plane, task)

    monkeypatch.setattr(watching_many, "said", listened)
    ender = threading.Thread(target=end)
    ender.start()
    said = cli("watch")
    ender.join()
    assert said.code == 0
    for name in ("one", "two"):
        assert f"{name}  running" in said.out
        assert f"{name}  completed" in said.out
