"""What an evaluation reports, keeps, shows and leaves behind, and which checkpoints it holds in place."""

from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL
from ended_tasks import error_of
from evaluated_trainings import Trainings, finished, result_of, under_way

from tunesmith.artifacts import EVALUATION, Manifest, list_files
from tunesmith.client import Client
from tunesmith.evaluation.results import EvaluationResult
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.sandbox import results
from tunesmith_platform.scope import INSTALLATION


def test_what_is_reported_is_shown_and_the_recommended_checkpoint_is_marked(trainings: Trainings) -> None:
    train = trainings.trained("t", 25, 50)
    task = finished(trainings, train)
    view = trainings.client.get(f"/v1/tasks/{task.id}/evaluation").json()
    (one,) = view["candidates"]
    assert (one["answered"], one["total"], one["means"]) == (2, 2, {"composite": 0.5})
    assert (view["recommended"], view["sentence"]["zh"]) == (f"{train.id}/checkpoint-50", "更好。")
    listed = trainings.client.get(f"/v1/tasks/{train.id}/checkpoints").json()["data"]
    assert {each["step"]: each["is_recommended"] for each in listed} == {25: False, 50: True}
    (summary,) = trainings.client.get(f"/v1/evaluations?task={train.id}").json()["data"]
    assert summary["task_id"] == task.id
    assert trainings.client.get("/v1/evaluations?task=task-none").json()["data"] == []
    # The next evaluation has the say, also where it recommends none.
    finished(trainings, train, step=25, recommended=f"{train.id}/checkpoint-25")
    listed = trainings.client.get(f"/v1/tasks/{train.id}/checkpoints").json()["data"]
    assert {each["step"]: each["is_recommended"] for each in listed} == {25: True, 50: False}
    assert len(trainings.client.get(f"/v1/evaluations?task={train.id}").json()["data"]) == 2


def test_the_result_the_report_and_the_tables(trainings: Trainings) -> None:
    train = trainings.trained("t", 50)
    task = finished(trainings, train)
    path = f"/v1/tasks/{task.id}/evaluation"
    assert EvaluationResult.model_validate(trainings.client.get(f"{path}/result").json()) == result_of(
        task, train
    )
    for language in ("en", "zh"):
        page = trainings.client.get(f"{path}/report?language={language}")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "checkpoint-50" in page.text
    for table in ("answers", "candidates"):
        text = trainings.client.get(f"{path}/{table}.csv").text
        assert "checkpoint-50" in text
    again = trainings.client.post(
        f"{path}:recompute", json={"weights": {"format": 1.0}, "score": "composite"}
    )
    assert again.status_code == 200, again.text
    assert again.json()["weights"] == {"format": 1.0}
    wrong = trainings.client.post(f"{path}:recompute", json={"score": "beauty"})
    assert (wrong.status_code, error_of(wrong).problems[0].field) == (422, "score")


def test_of_each_candidate_the_newest_word_is_shown_in_the_order_in_which_they_are_asked(
    trainings: Trainings,
) -> None:
    """However many there were before: of very many the oldest alone were looked at."""
    train = trainings.trained("t", 25, 50)
    task = trainings.made(task_id=train.id, checkpoints=["all"])
    trainings.plane.tick()
    keys = ["base", f"{train.id}/checkpoint-25", f"{train.id}/checkpoint-50"]
    said = [
        {"kind": "scored", "candidate": key, "label": key, "answered": answered, "total": 30}
        for key in reversed(keys) for answered in range(30)
    ]  # fmt: skip
    trainings.plane.report(task, *said)
    shown = trainings.client.get(f"/v1/tasks/{task.id}/evaluation").json()["candidates"]
    assert [(one["candidate"], one["answered"]) for one in shown] == [(key, 29) for key in keys]
    with trainings.plane.services.database.read() as session:
        found = events.newest_of_each(session, INSTALLATION, task.id, "scored", "candidate")
    assert len(found) == len(keys), "no more is read than is shown"


def test_a_result_is_read_in_a_worker_and_a_small_one_once(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the API all others would wait: 3.7 s, of 10 000 samples and 8 checkpoints."""
    asked: list[str] = []
    ask = results.ask

    def counted(name: str, about: str, **more: Any) -> bytes:
        asked.append(name)
        return ask(name, about, **more)

    monkeypatch.setattr(results, "ask", counted)
    train = trainings.trained("t", 50)
    path = f"/v1/tasks/{finished(trainings, train).id}/evaluation"
    for weights in ({"format": 1.0}, {"format": 1.0}, {"rouge_l": 1.0}):
        again = trainings.client.post(f"{path}:recompute", json={"weights": weights})
        assert again.json()["weights"] == weights
    first = trainings.client.get(f"{path}/report?language=en").content
    assert trainings.client.get(f"{path}/report?language=en").content == first
    assert trainings.client.get(f"{path}/report?language=zh").content != first
    assert asked == ["evaluation_recomputed"] * 2 + ["evaluation_report"] * 2


def test_a_result_that_was_changed_or_is_gone_is_not_shown(trainings: Trainings) -> None:
    train = trainings.trained("t", 50)
    task = finished(trainings, train)
    file = trainings.folder / task.id / "result.json"
    file.write_text(file.read_text().replace("It is 4.", "It is 5."))
    answer = trainings.client.get(f"/v1/tasks/{task.id}/evaluation/result")
    assert (answer.status_code, "not what was stored" in error_of(answer).message) == (503, True)
    file.unlink()
    answer = trainings.client.get(f"/v1/tasks/{task.id}/evaluation/report")
    assert (answer.status_code, "gone" in error_of(answer).message) == (503, True)


def test_what_is_no_comparison_has_no_table_and_what_found_nothing_no_result(trainings: Trainings) -> None:
    train = trainings.trained("t", 50)
    answer = trainings.client.get(f"/v1/tasks/{train.id}/evaluation")
    assert (answer.status_code, error_of(answer).code) == (409, "conflict")
    task = trainings.made(task_id=train.id, checkpoints=["all"])
    assert trainings.client.get(f"/v1/tasks/{task.id}/evaluation").json()["candidates"] == []
    assert trainings.client.get(f"/v1/tasks/{task.id}/evaluation/result").status_code == 404


def test_mlflow_shows_the_scores_on_the_checkpoints_model(trainings: Trainings) -> None:
    train = trainings.trained("t", 50)
    finished(trainings, train)
    trainings.plane.mirror.tick()
    run = trainings.plane.tracking.runs[f"run-{train.id}"]
    points = [point for point in run.points if "composite" in point.name]
    assert [(point.name, point.step, point.value) for point in points] == [("evaluation/composite", 50, 0.5)]
    assert "t-checkpoint-50" in run.models


def test_deleted_with_its_files_an_evaluation_leaves_nothing_and_takes_nothing_of_others(
    trainings: Trainings,
) -> None:
    train = trainings.trained("t", 50)
    task = finished(trainings, train)
    artifacts = Path(str(task.artifact_uri))
    found = artifacts / EVALUATION
    found.mkdir(parents=True)
    (found / "result.json").write_text("{}")
    manifest = Manifest(task_id=task.id, attempt=1, step=0, kind="evaluation", files=list_files(found))
    (found / "manifest.json").write_bytes(manifest.encode())
    notes = artifacts / "notes.txt"
    notes.write_text("by hand")
    trainings.plane.services.tasks.delete(LOCAL, task.id, with_files=True)
    assert [path.name for path in artifacts.rglob("*")] == ["notes.txt"]
    assert Path(str(train.artifact_uri), "checkpoints", "checkpoint-50").is_dir()
    assert trainings.client.get("/v1/evaluations").json()["data"] == []


def test_python_asks_for_what_the_command_line_asks_for(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trainings.trained("t", 4)
    client = Client("http://testserver", trainings.plane.api_key)
    client.close()
    monkeypatch.setattr(client._transport, "_http", trainings.client)
    task = client.evaluate(train.id, [4], "default", name="asked", max_samples=9)
    assert (task.name, task.spec["checkpoints"], task.spec["max_samples"]) == ("asked", ["4"], 9)
    assert client.evaluation(task.id).candidates == []
    assert client.evaluations() == []


@pytest.mark.parametrize(
    ("use", "spared"),
    [
        ({"kind": "evaluate", "spec": {"checkpoints": ["4", "8"]}}, [4, 8]),
        ({"kind": "evaluate", "spec": {"checkpoints": ["all"]}}, [4, 8, 12]),
        ({"kind": "package", "spec": {"checkpoint": 8}}, [8]),
    ],
)
def test_a_checkpoint_that_a_task_uses_is_spared_until_that_is_over(
    trainings: Trainings, use: dict[str, Any], spared: list[int]
) -> None:
    train = under_way(trainings, 4, 8, 12)
    assert trainings.plane.report(train).pinned == []
    body = use | {"spec": use["spec"] | {"task_id": train.id}}
    answer = trainings.client.post("/v1/tasks", json=body)
    assert answer.status_code == 201, answer.text
    assert trainings.plane.report(train).pinned == spared
    trainings.client.post(f"/v1/tasks/{train.id}/checkpoints/12:pin")
    assert trainings.plane.report(train).pinned == sorted({*spared, 12})
    assert trainings.client.post(f"/v1/tasks/{answer.json()['id']}:stop").status_code in (200, 202)
    assert trainings.plane.task(answer.json()["id"]).state.is_terminal
    assert trainings.plane.report(train).pinned == [12]


def test_files_of_a_checkpoint_that_is_being_compared_are_not_deleted(trainings: Trainings) -> None:
    first, second = trainings.trained("a", 4), trainings.trained("b", 2)
    task = trainings.made(task_id=first.id, checkpoints=["4", f"{second.id}:2"])
    for train in (first, second):
        answer = trainings.client.delete(f"/v1/tasks/{train.id}?files=true")
        assert (answer.status_code, error_of(answer).code) == (409, "conflict"), train.name
    trainings.client.post(f"/v1/tasks/{task.id}:stop")
    assert trainings.client.delete(f"/v1/tasks/{second.id}?files=true").status_code == 204


def test_of_all_checkpoints_one_that_was_just_removed_is_left_out(trainings: Trainings) -> None:
    import shutil

    train = under_way(trainings, 4, 8)
    shutil.rmtree(Path(train.artifact_uri or "") / "checkpoints" / "checkpoint-4")
    task = trainings.made(task_id=train.id, checkpoints=["all"])
    assert [one.candidate.step for one in trainings.document(task).candidates] == [0, 8]
    assert "checkpoint-4" in str(task.notices)
    answer = trainings.evaluate(task_id=train.id, checkpoints=["4"])
    assert (answer.status_code, "gone" in error_of(answer).message) == (422, True)
