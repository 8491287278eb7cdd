"""Scores where something ends: evaluations that fail or are stopped, trainings that are stopped or deleted."""

import pytest
from conftest_platform import LOCAL
from ended_tasks import end
from scored_trainings import Scored

from tunesmith.lifecycle import Reason, State
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.evaluations import repository
from tunesmith_platform.scope import INSTALLATION


@pytest.mark.parametrize("reason", [Reason.OUT_OF_MEMORY, Reason.BAD_DATA])
def test_an_evaluation_that_fails_is_a_warning_and_the_next_checkpoint_is_scored(
    scored: Scored, reason: Reason
) -> None:
    task = scored.training()
    scored.save(task, 20, 40)
    scored.loop.tick()
    scored.answer(task, None, reason=reason)
    assert scored.plane.task(task.id).state is State.RUNNING
    (warning,) = scored.warnings(task)
    assert "checkpoint-20" in warning
    assert scored.evaluations[0].id in warning
    scored.answer(task, 0.6)
    assert scored.curve(task) == [(0, 0.4), (40, 0.6)]


def test_after_three_failures_in_a_row_no_further_one_is_tried(scored: Scored) -> None:
    task = scored.training()
    scored.save(task, 20, 40, 60, 80)
    scored.loop.tick()
    for _ in range(3):
        scored.answer(task, None, reason=Reason.OUT_OF_MEMORY)
    scored.save(task, 100)
    scored.loop.tick()
    assert len(scored.evaluations) == 3
    warnings = scored.warnings(task)
    assert len(warnings) == 3, "of those that are not tried nothing more is said"
    assert "no further one is tried" in warnings[-1]
    assert scored.plane.report(task).pinned == []


def test_what_cannot_be_submitted_is_a_warning(scored: Scored) -> None:
    task = scored.training(evaluation_sample_file=str(scored.folder / "gone.json"))
    scored.save(task, 20)
    scored.loop.tick()
    assert scored.evaluations == []
    assert "checkpoint-20" in scored.warnings(task)[0]


def test_a_stop_of_the_training_stops_its_evaluation_which_goes_on_when_it_does(scored: Scored) -> None:
    task = scored.training()
    scored.save(task, 20, 40)
    scored.loop.tick()
    scored.plane.services.tasks.stop(LOCAL, task.id)
    scored.loop.tick()
    assert [one.state for one in scored.evaluations] == [State.STOPPED]
    end(scored.plane, task, Reason.STOPPED_BY_USER)
    scored.loop.tick()
    assert scored.warnings(task) == []
    answer = scored.client.post(f"/v1/tasks/{task.id}:continue", json={"max_steps": 200})
    assert answer.status_code in (200, 202), answer.text
    scored.loop.tick()
    assert [(one.parent_step, one.state) for one in scored.evaluations] == [(20, State.PENDING)]


def test_an_evaluation_that_its_user_stops_or_deletes_is_passed_over(scored: Scored) -> None:
    task = scored.training()
    scored.save(task, 20, 40)
    scored.loop.tick()
    scored.plane.services.tasks.stop(LOCAL, scored.newest.id)
    scored.loop.tick()
    assert [one.parent_step for one in scored.evaluations] == [20, 40]
    scored.plane.services.tasks.stop(LOCAL, scored.newest.id)
    scored.plane.services.tasks.delete(LOCAL, scored.newest.id, False)
    scored.loop.tick()
    assert len(scored.warnings(task)) == 2


def test_patience_ends_the_training_once_and_says_why(scored: Scored) -> None:
    task = scored.training(early_stopping_patience=2, early_stopping_threshold=0.01)
    scored.through(task, (20, 0.5), (40, 0.505))
    assert scored.plane.report(task).early_stop is None
    scored.through(task, (60, 0.5))
    assert "Early stopping by composite" in (scored.plane.report(task).early_stop or "")
    logs = scored.plane.services.events.logs(LOCAL, task.id, 10, None, None).data
    (line,) = [one.message for one in logs if "Early stopping by composite" in one.message]
    assert "checkpoint-40" in line
    assert "since then: 2" in line
    scored.through(task, (80, 0.4))
    logs = scored.plane.services.events.logs(LOCAL, task.id, 10, None, None).data
    assert len([one for one in logs if "Early stopping" in one.message]) == 1
    end(scored.plane, task)
    assert scored.client.post(f"/v1/tasks/{task.id}:continue", json={"max_steps": 200}).status_code in (
        200,
        202,
    )
    scored.plane.tick()
    assert scored.plane.report(task, attempt=2).early_stop is None, "who continues it wants it to go on"


@pytest.mark.parametrize("with_files", [False, True])
def test_a_training_that_is_deleted_takes_its_evaluations_along_and_nobody_elses(
    scored: Scored, with_files: bool
) -> None:
    task = scored.training()
    scored.through(task, (20, 0.5))
    scored.save(task, 40)
    scored.loop.tick()
    body = {"kind": "evaluate", "spec": {"task_id": task.id, "checkpoints": ["20"]}}
    own = scored.client.post("/v1/tasks", json=body).json()["id"]
    answer = scored.client.delete(f"/v1/tasks/{task.id}")
    assert (answer.status_code, len(scored.evaluations)) == (409, 3), "it is not over"
    assert [one.state for one in scored.evaluations] == [State.COMPLETED, State.PENDING, State.PENDING]
    scored.plane.services.tasks.stop(LOCAL, own)
    end(scored.plane, task)
    under_way = scored.evaluations[1]
    answer = scored.client.delete(f"/v1/tasks/{task.id}", params={"files": with_files})
    assert (answer.status_code, "checkpoint-40" in answer.text) == (409, True), answer.text
    assert scored.plane.task(under_way.id).state in (State.STOPPING, State.PENDING), "it was stopped"
    scored.plane.job(under_way, JobStatus.STOPPED)
    scored.plane.tick()
    answer = scored.client.delete(f"/v1/tasks/{task.id}", params={"files": with_files})
    assert answer.status_code == 204, answer.text
    assert [one.id for one in scored.evaluations] == [own], "none stays listed of a training that is gone"
    scored.loop.tick()
    with scored.plane.services.database.read() as session:
        assert not repository.to_score(session, INSTALLATION)


def test_the_evaluation_of_a_checkpoint_that_was_saved_anew_goes_too(scored: Scored) -> None:
    """It is no checkpoint's any more; its tag and its parent tell it."""
    task = scored.training()
    scored.through(task, (20, 0.5))
    listed = scored.client.get(f"/v1/tasks/{task.id}/checkpoints").json()["data"][0]
    anew = {"kind": "checkpoint", "step": 20, "uri": listed["uri"], "bytes": 1, "files": 1}
    scored.plane.report(task, anew | {"manifest_sha256": "1" * 64})
    scored.loop.tick()
    scored.answer(task, 0.6)
    assert len(scored.evaluations) == 2
    end(scored.plane, task)
    assert scored.client.delete(f"/v1/tasks/{task.id}").status_code == 204
    assert scored.evaluations == []
