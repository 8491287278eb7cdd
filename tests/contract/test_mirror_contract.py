"""The mirror and a real MLflow that is away, broken, slow or emptied: nobody waits for it, and it is complete after."""

import datetime as dt
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, TIME, Plane, home
from mlflow_server import MlflowServer, Proxy
from waiting import wait_until

from tunesmith.artifacts import MANIFEST, Manifest, list_files
from tunesmith.home import Home
from tunesmith.removal import MARK
from tunesmith.spec.task import MoreSteps
from tunesmith.views import TaskView
from tunesmith_platform.backends.mlflow import MlflowTracking
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.mirror import service
from tunesmith_platform.mirror.service import Mirror
from tunesmith_platform.reconciler.loop import Reconciler

__all__ = ["home"]
pytestmark = pytest.mark.slow


@pytest.fixture
def server(mlflow: tuple[MlflowServer, Proxy]) -> MlflowServer:
    return mlflow[0]


@pytest.fixture
def proxy(mlflow: tuple[MlflowServer, Proxy]) -> Iterator[Proxy]:
    proxy = mlflow[1]
    yield proxy
    proxy.mode, proxy.delay = "fine", 0.0


@pytest.fixture
def plane(home: Home, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A control plane whose mirror writes a real MLflow."""
    monkeypatch.setattr(service, "_MAX_PAUSE", 0.2)
    monkeypatch.setattr(service, "_MAX_SERVER_PAUSE", 0.1)
    monkeypatch.setattr(service, "_CHECK_SECONDS", 0.0)
    plane = Plane(home, mlflow_url=proxy.url, max_concurrent_jobs=3)
    plane.mirror = mirror_of(plane, proxy)
    plane.reconciler = Reconciler(plane.services, plane.mirror)
    yield plane
    plane.services.database.close()


def mirror_of(plane: Plane, proxy: Proxy, **options: Any) -> Mirror:
    tracking = MlflowTracking(proxy.url, proxy.token_file, **options)
    plane.mirror.end()  # the one before it: the platform was started again
    of = plane.services
    return Mirror(of.database, tracking, of.hub, of.kinds, "http://tunesmith.example:8265")


def steps(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {"kind": "metrics", "step": step, "values": {"loss": 1 / step, "learning_rate": step * 1e-6}}
        for step in range(first, last + 1)
    ]


def saved(plane: Plane, task: TaskView, step: int) -> dict[str, Any]:
    folder = Path(plane.task(task.id).artifact_uri or "") / "checkpoints" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"weights")
    manifest = Manifest(task_id=task.id, attempt=1, step=step, files=list_files(folder))
    (folder / MANIFEST).write_bytes(manifest.encode())
    sums = {"bytes": 7, "files": 1, "manifest_sha256": "0" * 64, "metrics": {"loss": 1 / step}}
    return {"kind": "checkpoint", "step": step, "uri": str(folder)} | sums


def live(plane: Plane, until: int = 30) -> TaskView:
    """A task that trains, and has saved a checkpoint at its newest step."""
    task = plane.running(project="outages")
    plane.report(task, *steps(1, until), saved(plane, task, until))
    return task


def end(plane: Plane, task: TaskView, attempt: int = 1) -> None:
    model = Path(plane.task(task.id).artifact_uri or "") / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    last = {"kind": "finished", "outcome": "completed", "reason": "completed", "model_uri": str(model)}
    plane.report(task, last, attempt=attempt)
    plane.job(task, JobStatus.SUCCEEDED, attempt)
    plane.tick()
    assert plane.task(task.id).state == "completed"


def is_caught_up(plane: Plane) -> bool:
    plane.mirror.tick()
    return behind(plane) == 0


def behind(plane: Plane) -> float:
    text = plane.services.monitoring.exposition(None)
    (line,) = [line for line in text.splitlines() if line.startswith("tunesmith_mirror_behind_events ")]
    return float(line.split()[1])


def check_complete(
    server: MlflowServer, plane: Plane, task: TaskView, last: int, saves: Sequence[int], removed: int = 0
) -> str:
    """Check that MLflow has everything of a task: one run, every point, its models, its files. Answers the run's id."""
    (run,) = server.runs(task.id)
    run_id = str(run["info"]["run_id"])
    view = plane.task(task.id)
    assert view.mlflow_run_id == run_id
    assert run_id in (view.mlflow_url or "")
    assert server.points(run_id, "loss") == [(step, 1 / step) for step in range(1, last + 1)]
    assert server.points(run_id, "learning_rate") == [(step, step * 1e-6) for step in range(1, last + 1)]
    expected = {
        f"{task.name}-checkpoint-{step}": f"{view.artifact_uri}/checkpoints/checkpoint-{step}"
        for step in saves
    }
    if view.model_uri:
        expected[f"{task.name}-model"] = view.model_uri
    assert {name: tags["tunesmith.uri"] for name, tags in server.models(run).items()} == expected
    assert server.artifacts(run_id, "checkpoints") == [
        f"checkpoints/checkpoint-{step}" for step in saves if step != removed
    ]
    params = {param["key"]: param["value"] for param in run["data"]["params"]}
    assert params["learning_rate"] == "0.0002"
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert f"http://tunesmith.example:8265/v1/tasks/{task.id}" in tags["mlflow.note.content"]
    if view.state == "completed":
        assert tags["tunesmith.state"] == "completed"
        assert run["info"]["status"] == "FINISHED"
        assert [name for name in server.artifacts(run_id) if name != MARK] == ["checkpoints", "model"]
    return run_id


@pytest.mark.parametrize("mode", ["away", "broken", "slow"])
def test_a_task_lives_through_an_outage_and_mlflow_is_complete_after(
    plane: Plane, server: MlflowServer, proxy: Proxy, mode: Any
) -> None:
    """The mirror runs in its thread as in the real platform; a slow MLflow takes ten seconds for each call."""
    proxy.mode, proxy.delay = mode, 10.0
    thread = threading.Thread(target=plane.mirror.run, daemon=True)
    thread.start()
    began = time.monotonic()
    task = live(plane)
    for step in range(31, 41):
        plane.report(task, *steps(step, step))
        assert plane.task(task.id).events
        assert len(plane.services.events.page(LOCAL, task.id, 0, 1000).data) >= step
    end(plane, task)
    took = time.monotonic() - began
    assert took < 8, "who waits for one call of a slow MLflow waits for ten seconds"
    assert behind(plane) > 0
    proxy.mode = "fine"
    wait_until(lambda: behind(plane) == 0, 60, "the mirror")
    plane.mirror.close()
    thread.join(20)
    check_complete(server, plane, task, 40, [30])


def test_an_outage_in_the_middle_leaves_no_gap_and_no_second_run(
    plane: Plane, server: MlflowServer, proxy: Proxy
) -> None:
    task = live(plane)
    assert is_caught_up(plane)
    for mode in ("away", "broken"):
        proxy.mode = mode  # type: ignore[assignment]
        plane.report(task, *steps(31 if mode == "away" else 36, 35 if mode == "away" else 40))
        plane.mirror.tick()
        proxy.mode = "fine"
        wait_until(lambda: is_caught_up(plane), 10)
    end(plane, task)
    wait_until(lambda: is_caught_up(plane), 10)
    check_complete(server, plane, task, 40, [30])


def test_calls_that_time_out_and_are_carried_out_all_the_same_change_nothing(
    plane: Plane, server: MlflowServer, proxy: Proxy
) -> None:
    plane.mirror = mirror_of(plane, proxy, timeout=0.2)
    plane.reconciler = Reconciler(plane.services, plane.mirror)
    proxy.mode, proxy.delay = "slow", 0.5
    task = live(plane)
    for _ in range(3):
        plane.mirror.tick()
        wait_until(lambda: not plane.mirror._is_paused(""), 5)
    end(plane, task)
    wait_until(lambda: proxy.on_the_way == 0, 5, "what is on its way")
    proxy.mode = "fine"
    plane.mirror = mirror_of(plane, proxy)
    wait_until(lambda: is_caught_up(plane), 10)
    check_complete(server, plane, task, 30, [30])


def test_a_slow_mlflow_gets_everything_at_its_own_pace(
    plane: Plane, server: MlflowServer, proxy: Proxy
) -> None:
    task = live(plane)
    proxy.mode, proxy.delay = "slow", 0.1
    wait_until(lambda: is_caught_up(plane), 20)
    end(plane, task)
    wait_until(lambda: is_caught_up(plane), 20)
    check_complete(server, plane, task, 30, [30])


def test_an_emptied_mlflow_gets_every_run_again(plane: Plane, server: MlflowServer, proxy: Proxy) -> None:
    ended, running, idle = live(plane), live(plane), live(plane)
    end(plane, ended)
    assert is_caught_up(plane)
    before = [check_complete(server, plane, task, 30, [30]) for task in (ended, running, idle)]
    server.empty()
    plane.report(running, *steps(31, 40), saved(plane, running, 40))
    wait_until(lambda: is_caught_up(plane), 20)
    after = [check_complete(server, plane, task, 30, [30]) for task in (ended, idle)]
    after.append(check_complete(server, plane, running, 40, [30, 40]))
    assert not {*before} & {*after}
    plane.report(running, {"kind": "checkpoint_removed", "step": 30})
    end(plane, running)
    assert is_caught_up(plane)
    assert check_complete(server, plane, running, 40, [30, 40], removed=30) == after[-1]


def test_a_continued_task_keeps_its_run_and_one_that_was_deleted_comes_back(
    plane: Plane, server: MlflowServer, proxy: Proxy
) -> None:
    task = live(plane)
    end(plane, task)
    assert is_caught_up(plane)
    run_id = check_complete(server, plane, task, 30, [30])
    server.call("runs/delete", {"run_id": run_id})
    plane.services.verbs.carry_on(LOCAL, task.id, MoreSteps(max_steps=40))
    plane.tick()
    plane.job(task, JobStatus.RUNNING, 2)
    plane.tick()
    plane.report(task, {"kind": "training_started", "step": 30, "total_steps": 40}, attempt=2)
    assert is_caught_up(plane)
    assert server.runs(task.id)[0]["info"]["status"] == "RUNNING"
    plane.report(task, *steps(31, 40), attempt=2)
    end(plane, task, attempt=2)
    assert is_caught_up(plane)
    assert check_complete(server, plane, task, 40, [30]) == run_id


def test_a_step_that_is_measured_again_before_its_checkpoint_is_one_point(
    plane: Plane, server: MlflowServer, proxy: Proxy
) -> None:
    """A worker is killed between a step's report and its checkpoint: the step is done again, at another time.

    So is a step whose checkpoint was reported and not kept, and one that an evaluation measures a second time.
    """
    task = plane.running(project="outages")
    plane.report(task, *steps(1, 28))
    assert is_caught_up(plane)
    for number, restarted_at in enumerate((20, 25, 25), start=1):
        later = TIME + dt.timedelta(minutes=number)
        again = {"kind": "training_started", "step": restarted_at, "total_steps": 40, "restart": number}
        plane.report(task, again, *steps(restarted_at + 1, 28), time=later)
        assert is_caught_up(plane)
    plane.report(task, saved(plane, task, 28), *steps(29, 30), *steps(30, 30), time=later)
    plane.report(task, saved(plane, task, 30), time=later)
    end(plane, task)
    assert is_caught_up(plane)
    run_id = check_complete(server, plane, task, 30, [28, 30])
    shown = plane.services.series.metrics(LOCAL, task.id, ["loss"]).series["loss"]
    assert [(point.step, point.value) for point in shown] == server.points(run_id, "loss"), "as our own chart"
