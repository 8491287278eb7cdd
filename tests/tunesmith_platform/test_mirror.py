"""The mirror's own decisions: what an emptied, hanging or refusing MLflow delays, and whom."""

import datetime as dt
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, TIME, Plane
from sqlalchemy.orm import Session

from tunesmith.artifacts import Manifest, list_files
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus, Point, Refused, Run
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.mirror import samples_table, service
from tunesmith_platform.scope import Scope


def measured(plane: Plane, task: TaskView, *steps: int) -> None:
    plane.report(task, *({"kind": "metrics", "step": step, "values": {"loss": 1.0 / step}} for step in steps))


def saved(step: int, *metrics: str) -> dict[str, Any]:
    sums = {"bytes": 1, "files": 1, "manifest_sha256": "0" * 64}
    return {"kind": "checkpoint", "step": step, "uri": "/c", "metrics": dict.fromkeys(metrics, 1.0)} | sums


def mirrored(plane: Plane, task: TaskView) -> list[int]:
    run = plane.tracking.runs.get(f"run-{task.id}")
    return sorted(point.step for point in run.points) if run else []


def ended(plane: Plane, count: int, *steps: int) -> list[TaskView]:
    """Tasks that measured these steps and are over."""
    tasks = []
    for _ in range(count):
        task = plane.running()
        measured(plane, task, *steps)
        finished(plane, task)
        tasks.append(task)
    return tasks


def finished(plane: Plane, task: TaskView) -> None:
    plane.report(task, {"kind": "finished", "outcome": "completed", "reason": "completed"})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()


def test_an_emptied_mlflow_is_noticed_also_when_nothing_goes_on(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ended(plane, 5, 1, 2, 3)
    plane.mirror.tick()
    plane.tracking.runs.clear()
    plane.mirror.tick()
    assert plane.tracking.runs == {}, "it is asked once a minute"
    monkeypatch.setattr(service, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(service, "_CHECKS", 2)
    for rounds in (1, 2, 3):
        plane.mirror.tick()
        assert [bool(mirrored(plane, task)) for task in tasks].count(True) == min(5, 2 * rounds)
    for task in tasks:
        assert mirrored(plane, task) == [1, 2, 3]
        assert plane.tracking.runs[f"run-{task.id}"].status == "FINISHED"


def test_work_that_was_cut_off_in_an_emptied_mlflow_goes_on_after_a_restart(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ended(plane, 3, 1)
    plane.mirror.tick()
    for task in tasks[:2]:  # the newest is there already: it was made again before the API died
        del plane.tracking.runs[f"run-{task.id}"]
    plane.mirror.end()
    of = plane.services
    service.Mirror(of.database, plane.tracking, of.hub, of.kinds).tick()
    assert [mirrored(plane, task) for task in tasks] == [[1]] * 3


def test_a_start_waits_for_a_hanging_mlflow_once_and_not_for_long(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_START_SECONDS", 0.2)
    plane.settings.max_concurrent_jobs = 5
    answers, ensure_run = threading.Event(), plane.tracking.ensure_run

    def hang(*args: Any) -> Run:
        answers.wait(20)
        return ensure_run(*args)

    monkeypatch.setattr(plane.tracking, "ensure_run", hang)
    tasks = [plane.submit() for _ in range(5)]
    began = time.monotonic()
    plane.tick()
    took = time.monotonic() - began
    answers.set()
    assert len(plane.jobs.submits) == 5
    assert took < 5, "each of them would have waited for 20 seconds"
    own = {plane.task(task.id).artifact_uri for task in tasks}
    assert own == {f"{plane.settings.storage_uri}/tasks/{task.id}/artifacts" for task in tasks}


def test_a_task_that_is_refused_holds_up_no_other(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.settings.max_concurrent_jobs = 2
    bad, good = plane.running(), plane.running()
    log_points = plane.tracking.log_points

    def refuse(run_id: str, points: list[Point]) -> None:
        if run_id == f"run-{bad.id}":
            raise Refused("MLflow answered HTTP 400.")
        log_points(run_id, points)

    monkeypatch.setattr(plane.tracking, "log_points", refuse)
    for task in (bad, good):
        measured(plane, task, 1, 2)
    plane.mirror.tick()
    measured(plane, good, 3)
    plane.mirror.tick()
    assert (mirrored(plane, bad), mirrored(plane, good)) == ([], [1, 2, 3])


def test_a_long_log_lets_the_others_have_their_turn(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_BATCH", 5)
    monkeypatch.setattr(service, "_BATCHES", 2)
    plane.settings.max_concurrent_jobs = 2
    long, short = plane.running(), plane.running()
    measured(plane, long, *range(1, 101))
    measured(plane, short, 1)
    order: list[str] = []
    log_points = plane.tracking.log_points

    def note(run_id: str, points: list[Point]) -> None:
        order.append(run_id)
        log_points(run_id, points)

    monkeypatch.setattr(plane.tracking, "log_points", note)
    plane.mirror.tick()
    assert order.index(f"run-{short.id}") == 2
    assert mirrored(plane, long) == list(range(1, 101))


def test_a_run_shows_what_lies_elsewhere_until_it_is_removed(plane: Plane) -> None:
    plane.tracking.is_away = True
    task = plane.running()
    plane.tracking.is_away = False
    plane.mirror._failures.clear()
    folder = Path(plane.task(task.id).artifact_uri or "") / "checkpoints" / "checkpoint-1"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"w")
    manifest = Manifest(task_id=task.id, attempt=1, step=1, files=list_files(folder))
    (folder / "manifest.json").write_bytes(manifest.encode())
    (folder.parents[1] / "model").mkdir()
    (folder.parents[1] / "model" / "config.json").write_text("{}")
    saved = {"bytes": 1, "files": 1, "manifest_sha256": "0" * 64}
    plane.report(task, {"kind": "checkpoint", "step": 1, "uri": str(folder), **saved})
    plane.mirror.tick()
    shown = Path(plane.tracking.runs[f"run-{task.id}"].run.artifact_uri)
    assert (shown / "checkpoints" / "checkpoint-1" / "weights").samefile(folder / "weights")
    plane.report(task, {"kind": "checkpoint_removed", "step": 1})
    finished(plane, task)
    plane.mirror.tick()
    assert sorted(path.relative_to(shown).as_posix() for path in shown.rglob("*")) == [
        "checkpoints",
        "model",
        "model/config.json",
    ]
    plane.services.tasks.delete(LOCAL, task.id, with_files=True)
    assert not shown.exists()


def test_a_run_leads_back_to_its_task_and_a_description_of_its_users_stays(plane: Plane) -> None:
    task = plane.running()
    plane.mirror._platform_url = "https://tunes.example/"
    plane.mirror.tick()
    tags = plane.tracking.runs[f"run-{task.id}"].tags
    assert f"[`{task.id}`](https://tunes.example/v1/tasks/{task.id})" in tags["mlflow.note.content"]
    tags["mlflow.note.content"] = "my notes"
    finished(plane, task)
    plane.mirror.tick()
    assert tags["mlflow.note.content"] == "my notes"
    assert tags["tunesmith.state"] == "completed"


def test_a_run_looks_like_a_training(plane: Plane) -> None:
    """Its rows, who and with what, what was picked and why, its checkpoints and its model by the task's name."""
    task = plane.submit(name="talks: first try")
    plane.tick()
    facts = {
        "precision": "bf16",
        "precision_why": "the processor has it",
        "lora_targets": ["a", "b"],
        "x": None,
    }
    plane.report(
        task,
        {"kind": "training_started", "step": 0, "total_steps": 2, "facts": facts},
        saved(2),
        {"kind": "finished", "outcome": "completed", "reason": "completed", "model_uri": "/m"},
    )
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    plane.mirror.tick()
    run = plane.tracking.runs[f"run-{task.id}"]
    assert {name for name, _, _ in run.rows} == {Path(str(plane.task(task.id).spec["train_file"])).name}
    assert [context for _, _, context in run.rows] == ["training"]
    assert run.tags["mlflow.source.name"] == "tunesmith train"
    assert run.tags["fact.precision"] == "bf16"
    assert run.tags["fact.precision_why"] == "the processor has it"
    assert run.tags["fact.lora_targets"] == "a, b"
    assert "fact.x" not in run.tags
    assert run.models == {"talks- first try-checkpoint-2": "/c", "talks- first try-model": "/m"}


def test_a_checkpoints_metrics_are_the_points_that_are_there(plane: Plane) -> None:
    """Steps 3 and 4 are measured again before their checkpoints: with the second time there would be two points."""
    task = plane.running()
    measured(plane, task, 1)
    plane.report(task, {"kind": "metrics", "step": 2, "values": {"eval_loss": 1.0}})
    measured(plane, task, 2, 3, 4)
    plane.mirror.tick()
    later = TIME + dt.timedelta(minutes=1)
    again = [{"kind": "metrics", "step": step, "values": {"loss": 1.0 / step}} for step in (3, 4)]
    plane.report(task, *again, saved(3, "loss", "eval_loss"), saved(4, "loss"), time=later)
    plane.mirror.tick()
    run = plane.tracking.runs[f"run-{task.id}"]
    points = [(point.name, point.step, point.value) for point in run.points]
    assert sorted(points) == [("eval_loss", 2, 1.0), *(("loss", step, 1.0 / step) for step in (1, 2, 3, 4))]
    assert len(run.models) == 2


def test_a_long_log_is_searched_only_for_what_was_measured_again(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[set[int]] = []
    metrics_at = events.metrics_at

    def note(session: Session, scope: Scope, task_id: str, steps: set[int], before: int) -> Any:
        searched.append(set(steps))
        return metrics_at(session, scope, task_id, steps, before)

    monkeypatch.setattr(events, "metrics_at", note)
    task = plane.running()
    for first, last in ((1, 8), (5, 10), (11, 12)):
        measured(plane, task, *range(first, last + 1))
        plane.report(task, saved(last, "loss"))
        plane.mirror.tick()
    assert searched == []
    measured(plane, task, 9, 10)
    plane.report(task, saved(10, "loss"))
    plane.mirror.tick()
    assert searched == [{10}]


def test_what_a_model_writes_while_it_trains_is_a_table_of_its_run(plane: Plane) -> None:
    """Of a step that was done again after a restart the newest answers are shown, once."""
    task = plane.running()

    def answered(step: int, *texts: str) -> dict[str, Any]:
        answers = [{"prompt": f"p{n}", "text": text, "finish_reason": "stop"} for n, text in enumerate(texts)]
        return {"kind": "samples", "step": step, "answers": answers, "seconds": 0.1}

    plane.report(task, answered(2, "=a", "b"))
    plane.mirror.tick()
    plane.report(task, answered(4, "c", "d"), answered(2, "e", "f"))
    plane.mirror.tick()
    run = plane.tracking.runs[f"run-{task.id}"]
    (listed,) = json.loads(run.tags["mlflow.loggedArtifacts"])
    table = json.loads((Path(run.run.artifact_uri) / listed["path"]).read_text())
    assert listed["type"] == "table"
    assert [dict(zip(table["columns"], row, strict=True))["answer"] for row in table["data"]] == [
        "e",
        "f",
        "c",
        "d",
    ]
    assert table["data"][0] == [2, 1, "p0", "e", "stop"]


def test_a_folder_that_takes_no_table_holds_up_nothing(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(samples_table, "open_storage", full)
    task = plane.running()
    answer = {"prompt": "p", "text": "t", "finish_reason": "length"}
    plane.report(task, {"kind": "samples", "step": 1, "answers": [answer], "seconds": 0.1})
    measured(plane, task, 1, 2)
    plane.mirror.tick()
    assert mirrored(plane, task) == [1, 2]
