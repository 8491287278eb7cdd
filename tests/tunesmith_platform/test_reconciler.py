"""The reconciler with real rows and fake jobs, one round at a time."""

import json
from pathlib import Path

import pytest
from conftest_platform import LOCAL, Plane
from given import MODEL

from tunesmith.errors import Conflict, SequenceGap, StaleAttempt
from tunesmith.events import JobEvent, Report
from tunesmith.lifecycle import Reason, State, WaitsFor
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.reconciler.loop import Reconciler
from tunesmith_platform.scope import INSTALLATION

FINISHED = {"kind": "finished", "outcome": "completed", "reason": "completed", "model_uri": "/x/model"}


def test_a_task_runs_to_its_end(plane: Plane) -> None:
    task = plane.submit()
    plane.tick()
    assert plane.jobs.submits == [f"{task.id}-1"]
    document = json.loads(Path(plane.jobs.documents[f"{task.id}-1"]).read_text())
    assert document["spec"]["model_name_or_path"] == document["model_path"] == MODEL
    assert "ts-" not in json.dumps(document), "no key in what a job is given"
    plane.job(task, JobStatus.RUNNING)
    plane.tick()
    assert plane.task(task.id).state is State.RUNNING
    plane.report(task, FINISHED)
    plane.tick()
    assert plane.task(task.id).state is State.RUNNING, "its processes are not gone yet"
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    done = plane.task(task.id)
    assert (done.state, done.reason, done.model_uri) == (State.COMPLETED, Reason.COMPLETED, "/x/model")


def test_the_queue_goes_by_priority_then_age(plane: Plane) -> None:
    first, second, urgent = plane.submit(), plane.submit(), plane.submit(priority=5)
    waiting = [urgent, first, second]
    for task in list(waiting):
        assert [plane.task(one.id).queue_place for one in waiting] == list(range(1, len(waiting) + 1))
        plane.tick()
        waiting.remove(task)
        assert plane.task(task.id).queue_place is None, "it has its place"
        assert plane.jobs.submits[-1] == f"{task.id}-1"
        plane.tick()
        assert len([s for s in plane.jobs.jobs.values() if not s.is_over]) == 1, "one at a time"
        plane.report(task, FINISHED)
        plane.job(task, JobStatus.SUCCEEDED)
        plane.tick()


def test_a_crash_between_submitting_and_recording_gives_one_job(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = plane.submit()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plane.reconciler, "_record", crash)
    with pytest.raises(KeyboardInterrupt):
        plane.tick()
    assert plane.jobs.submits == [f"{task.id}-1"]
    # Another process takes over once the lease is free.
    later = Reconciler(plane.services, plane.mirror)
    later._owner = plane.reconciler._owner
    later.tick()
    assert plane.jobs.submits == [f"{task.id}-1"]
    plane.job(task, JobStatus.RUNNING)
    later.tick()
    assert plane.task(task.id).state is State.RUNNING


def test_a_lease_keeps_a_second_reconciler_away(plane: Plane) -> None:
    task = plane.submit()
    plane.tick()
    plane.job(task, JobStatus.RUNNING)
    other = Reconciler(plane.services, None)
    other.tick()
    assert plane.task(task.id).state is State.PENDING
    plane.tick()
    assert plane.task(task.id).state is State.RUNNING


def test_an_unreachable_ray_delays_and_says_so(plane: Plane) -> None:
    plane.jobs.is_away = True
    task = plane.submit()
    plane.tick()
    waiting = plane.task(task.id)
    assert waiting.state is State.PENDING
    assert "Ray" in waiting.message
    plane.jobs.is_away = False
    plane.tick()
    assert plane.jobs.submits == [f"{task.id}-1"]


def test_a_lost_job_starts_again_with_a_new_attempt(plane: Plane) -> None:
    task = plane.running()
    del plane.jobs.jobs[f"{task.id}-1"]  # Ray was killed: the new one knows no job
    plane.tick()
    waiting = plane.task(task.id)
    assert (waiting.state, waiting.waits_for) == (State.PENDING, WaitsFor.BACKOFF)
    with pytest.raises(StaleAttempt):
        plane.report(task, {"kind": "progress", "step": 1, "total_steps": 10})
    with plane.services.database.write() as session:
        from tunesmith_platform.tasks import repository

        repository.locked(session, INSTALLATION, task.id).retry_at = None
    plane.tick()
    assert plane.jobs.submits[-1] == f"{task.id}-2"
    plane.report(task, {"kind": "training_started", "step": 5, "total_steps": 10}, attempt=2)


def test_stop_before_start_is_at_once(plane: Plane) -> None:
    task = plane.submit()
    stopped = plane.services.tasks.stop(LOCAL, task.id)
    assert (stopped.state, stopped.reason) == (State.STOPPED, Reason.STOPPED_BEFORE_START)
    plane.tick()
    assert plane.jobs.submits == []


def test_stop_while_starting_kills_and_leaves_nothing(plane: Plane) -> None:
    task = plane.submit()
    plane.tick()
    plane.job(task, JobStatus.RUNNING)
    plane.services.tasks.stop(LOCAL, task.id)
    plane.tick()
    assert plane.jobs.kills == [f"{task.id}-1"]
    plane.tick()
    assert plane.task(task.id).state is State.STOPPED


def test_stop_while_training_asks_the_job_and_waits_for_its_processes(plane: Plane) -> None:
    task = plane.running()
    assert plane.services.tasks.stop(LOCAL, task.id).state is State.STOPPING
    receipt = plane.report(task, {"kind": "progress", "step": 3, "total_steps": 10})
    assert receipt.desired == "stop"
    plane.report(task, {"kind": "finished", "outcome": "stopped", "reason": "stopped_by_user"})
    plane.tick()
    assert plane.task(task.id).state is State.STOPPING
    assert plane.jobs.kills == []
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    assert plane.task(task.id).state is State.STOPPED
    assert plane.services.tasks.stop(LOCAL, task.id).state is State.STOPPED, "a second click changes nothing"


def test_a_task_that_does_not_heed_the_stop_is_killed(plane: Plane) -> None:
    task = plane.running()
    plane.services.tasks.stop(LOCAL, task.id)
    plane.services.settings.stop_grace_seconds = 1e-6
    plane.tick()
    plane.tick()
    assert plane.task(task.id).state is State.STOPPED


def test_a_bad_end_is_said_with_its_cause(plane: Plane) -> None:
    task = plane.running(spec={"max_restarts": 0})
    plane.job(task, JobStatus.FAILED)
    plane.tick()
    failed = plane.task(task.id)
    assert (failed.state, failed.reason, failed.fault) == (State.FAILED, Reason.JOB_LOST, "infrastructure")
    assert failed.next_step
    lines = plane.services.events.logs(LOCAL, task.id, 10, None, None).data
    assert lines[-1].message == f"the last words of {task.id}-1"


def test_running_tasks_cannot_be_deleted_and_ended_ones_can(plane: Plane) -> None:
    task = plane.running()
    with pytest.raises(Conflict):
        plane.services.tasks.delete(LOCAL, task.id, with_files=True)
    plane.report(task, FINISHED)
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    artifacts = Path(plane.task(task.id).artifact_uri or "")
    (artifacts / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    (artifacts / "checkpoints" / "checkpoint-5" / "cut-off").write_text("x")
    plane.services.tasks.delete(LOCAL, task.id, with_files=True)
    assert not artifacts.exists()


def test_reports_are_stored_exactly_once(plane: Plane) -> None:
    task = plane.running()

    def batch(*seqs: int) -> Report:
        return Report(
            attempt=1,
            events=[
                JobEvent.model_validate(
                    {
                        "seq": seq,
                        "time": "2026-01-01T00:00:00Z",
                        "payload": {"kind": "metrics", "step": seq, "values": {"loss": 1 / seq}},
                    }
                )
                for seq in seqs
            ],
        )

    ingest = plane.services.events.ingest
    assert ingest(task.id, batch(2, 3)).last_seq == 3
    assert ingest(task.id, batch(2, 3, 4)).last_seq == 4, "what came before is passed over"
    with pytest.raises(SequenceGap) as gap:
        ingest(task.id, batch(6))
    assert gap.value.details == {"expected_seq": 5}
    loss = plane.services.series.metrics(LOCAL, task.id, ["loss"]).series["loss"]
    assert [point.step for point in loss] == [2, 3, 4]


@pytest.mark.parametrize(
    ("storage", "runs", "is_with_the_run"),
    [
        ("/files", "/files/mlflow", True),
        ("s3://ours/files", "s3://ours/files/mlflow", True),
        ("s3://ours/files", "s3://mlflows/own", True),
        ("s3://ours/files", "/home/files/mlflow", False),
    ],
)
def test_files_lie_with_their_run_unless_that_is_on_this_machine_and_the_storage_is_not(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, storage: str, runs: str, is_with_the_run: bool
) -> None:
    task = plane.submit()
    monkeypatch.setattr(plane.settings, "storage_uri", storage)
    assert plane.reconciler.mirror is not None
    monkeypatch.setattr(plane.reconciler.mirror, "artifact_uri", lambda _task: f"{runs}/1/artifacts")
    plane.reconciler._document(task.id, 1)
    own = f"{storage}/tasks/{task.id}/artifacts"
    assert plane.task(task.id).artifact_uri == (f"{runs}/1/artifacts" if is_with_the_run else own)


def test_a_dead_mlflow_delays_the_mirror_and_nothing_else(plane: Plane) -> None:
    plane.tracking.is_away = True
    task = plane.running()
    assert plane.task(task.id).artifact_uri == f"{plane.settings.storage_uri}/tasks/{task.id}/artifacts"
    plane.report(task, {"kind": "metrics", "step": 1, "values": {"loss": 2.5}})
    plane.mirror.tick()
    plane.tracking.is_away = False
    plane.mirror._failures.clear()
    plane.mirror.tick()
    run = plane.tracking.runs[f"run-{task.id}"]
    assert {(p.name, p.step, p.value) for p in run.points} == {("loss", 1, 2.5)}
    assert run.params["learning_rate"] == "0.0002"


@pytest.mark.parametrize("calls", range(8))
def test_a_mirror_that_is_cut_off_anywhere_ends_complete(plane: Plane, calls: int) -> None:
    task = plane.running()
    saved = {
        "kind": "checkpoint",
        "step": 2,
        "uri": "/c",
        "bytes": 1,
        "files": 1,
        "manifest_sha256": "0" * 64,
    }
    for step in (1, 2):
        plane.report(task, {"kind": "metrics", "step": step, "values": {"loss": float(step)}})
    plane.report(task, saved, FINISHED)
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    plane.tracking.calls_until_away = calls
    plane.mirror.tick()
    plane.tracking.calls_until_away, plane.tracking.is_away = None, False
    plane.mirror._failures.clear()
    plane.mirror.tick()
    run = plane.tracking.runs[f"run-{task.id}"]
    assert sorted((p.step, p.value) for p in run.points) == [(1, 1.0), (2, 2.0)]
    assert run.status == "FINISHED"
    assert run.models == {f"{task.name}-checkpoint-2": "/c", f"{task.name}-model": "/x/model"}
    assert run.tags["tunesmith.state"] == "completed"


def test_a_step_done_again_is_mirrored_and_drawn_once(plane: Plane) -> None:
    task = plane.running()
    for step in (1, 2, 3, 2, 3, 4):  # the worker died after step 3 and went on from the checkpoint of step 1
        plane.report(task, {"kind": "metrics", "step": step, "values": {"loss": 1.0 / step}})
    plane.mirror.tick()
    assert sorted(p.step for p in plane.tracking.runs[f"run-{task.id}"].points) == [1, 2, 3, 4]
    assert [p.step for p in plane.services.series.metrics(LOCAL, task.id, None).series["loss"]] == [
        1,
        2,
        3,
        4,
    ]
