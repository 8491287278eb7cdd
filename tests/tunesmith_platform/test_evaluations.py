"""Evaluations as the platform sees them: which candidates, what is refused, what is reported, what is shown of it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_stand_in
import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import end, error_of, saved
from fastapi.testclient import TestClient

from tunesmith.artifacts import EVALUATION, Manifest, list_files
from tunesmith.client import Client
from tunesmith.evaluation.document import EvaluationDocument
from tunesmith.evaluation.results import EvaluationResult
from tunesmith.evaluation.scores.judge import JudgeSettings
from tunesmith.evaluation_views import EvaluationForecast
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.examples import EVALUATION_RESULT
from tunesmith_platform.sandbox import results, sample_checks, shared_workers
from tunesmith_platform.scope import INSTALLATION
from tunesmith_platform.tasks.inputs import TrainInputs
from tunesmith_platform.tasks.kinds import benchmarks


class Trainings:
    """A plane with trainings whose checkpoints are there."""

    def __init__(self, plane: Plane, client: TestClient, folder: Path, model: Path) -> None:
        self.plane, self.client, self.folder, self.model = plane, client, folder, model
        plane.settings.allowed_roots += [folder, model]
        self.rows = folder / "rows.jsonl"
        self.rows.write_text(json.dumps({"prompt": "Name a colour.", "completion": "Blue."}) + "\n")
        self.look_at(model)

    def look_at(self, model: Path, eval_path: str | None = None) -> None:
        def look(_scope: Any, spec: Any) -> TrainInputs:
            return TrainInputs(model_path=str(model), train_path=str(self.rows), eval_path=eval_path)

        self.plane.training.look_at = look

    def trained(self, name: str, *steps: int, **spec: Any) -> TaskView:
        """A completed training with checkpoints."""
        given = {"model_name_or_path": "m", "train_file": "/t"} | spec
        answer = self.client.post("/v1/tasks", json={"name": name, "spec": given})
        assert answer.status_code == 201, answer.text
        task = self.plane.task(answer.json()["id"])
        self.plane.tick()
        self.plane.job(task, JobStatus.RUNNING)
        for step in steps:
            saved(self.plane, task, step)
        end(self.plane, task)
        return self.plane.task(task.id)

    def evaluate(self, **spec: Any) -> Any:
        return self.client.post("/v1/tasks", json={"kind": "evaluate", "spec": spec})

    def made(self, **spec: Any) -> TaskView:
        answer = self.evaluate(**spec)
        assert answer.status_code == 201, answer.text
        return self.plane.task(answer.json()["id"])

    def document(self, task: TaskView) -> EvaluationDocument:
        """What its attempt is handed."""
        self.plane.tick()
        (path,) = [uri for job, uri in self.plane.jobs.documents.items() if job.startswith(task.id)]
        return EvaluationDocument.model_validate_json(Path(path).read_bytes())

    def samples(self, *pairs: tuple[str, str]) -> str:
        file = self.folder / "samples.json"
        file.write_text(json.dumps({"validation": [{"prompt": p, "completion": c} for p, c in pairs]}))
        return str(file)


@pytest.fixture
def bench(plane: Plane, client: TestClient, tmp_path: Path, tiny_model: Path) -> Trainings:
    folder = tmp_path / "data"
    folder.mkdir()
    return Trainings(plane, client, folder, tiny_model)


def test_all_checkpoints_of_a_task_and_its_base(bench: Trainings) -> None:
    train = bench.trained("t", 4, 12, 8)
    task = bench.made(task_id=train.id, checkpoints=["all"])
    assert (task.kind, task.parent_id) == ("evaluate", train.id)
    document = bench.document(task)
    assert [one.candidate.key for one in document.candidates] == [
        "base", f"{train.id}/checkpoint-4", f"{train.id}/checkpoint-8", f"{train.id}/checkpoint-12",
    ]  # fmt: skip
    base, first = document.candidates[:2]
    assert base.candidate.is_base
    assert (base.candidate.uri, base.training["use_lora"]) == (str(bench.model), False)
    assert (first.base_path, first.training["use_lora"]) == (str(bench.model), True)
    assert first.train_path == str(bench.rows)
    assert document.samples_path == "default"
    assert "No samples are given" in str(task.notices)


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        ({"checkpoints": ["8"]}, ["base", "A/checkpoint-8"]),
        ({"checkpoints": ["checkpoint-8", "4"]}, ["base", "A/checkpoint-8", "A/checkpoint-4"]),
        ({"checkpoints": ["4", "4", "all"]}, ["base", "A/checkpoint-4", "A/checkpoint-8"]),
        ({"checkpoints": ["4"], "include_base": False}, ["A/checkpoint-4"]),
        ({"checkpoints": ["4", "B:2"]}, ["base", "A/checkpoint-4", "B/checkpoint-2"]),
        ({"checkpoints": ["B"]}, ["base", "B/checkpoint-2"]),
        ({"sample_file": "default", "checkpoint": 4}, ["base", "A/checkpoint-4"]),
        ({"sample_file": "default"}, ["base", "A/checkpoint-4", "A/checkpoint-8"]),
    ],
)
def test_which_candidates_words_name(bench: Trainings, spec: dict[str, Any], keys: list[str]) -> None:
    first, second = bench.trained("a", 4, 8), bench.trained("b", 2)
    names = {"A": first.id, "B": second.id}
    given = dict(spec)
    if "checkpoints" in spec:
        given["checkpoints"] = [one.replace("B", second.id) for one in spec["checkpoints"]]
    found = bench.document(bench.made(task_id=first.id, **given)).candidates
    assert [one.candidate.key for one in found] == [
        key if key == "base" else names[key[0]] + key[1:] for key in keys
    ]


def test_the_checkpoints_of_the_task_whose_model_is_named_by_its_place(bench: Trainings) -> None:
    """So a pipeline's step names them: what the training before it hands on is a place."""
    train = bench.trained("t", 4, 8)
    place = bench.client.get(f"/v1/tasks/{train.id}/checkpoints").json()["data"][0]["uri"]
    for named, steps in ((["all"], [4, 8]), (["8"], [8])):
        task = bench.made(model_name_or_path=place, checkpoints=named)
        found = bench.document(task).candidates
        assert [one.candidate.key for one in found] == [
            "base", *(f"{train.id}/checkpoint-{step}" for step in steps),
        ]  # fmt: skip
        bench.client.post(f"/v1/tasks/{task.id}:stop")
        end(bench.plane, task)
    refused = error_of(bench.evaluate(model_name_or_path=str(bench.model), checkpoints=["all"]))
    assert "the model of no task" in refused.message
    step = {"id": "e", "type": "model-evaluator", "task_id": train.id, "checkpoints": ["all"]}
    body = {"yaml": json.dumps({"components": [step]})}
    assert bench.client.post("/v1/pipelines", json=body).status_code == 201, "looked at as a comparison"
    body = {"yaml": json.dumps({"components": [step | {"checkpoints": ["7"]}]})}
    assert "no checkpoint of step 7" in error_of(bench.client.post("/v1/pipelines", json=body)).message


def test_the_base_by_its_folder_is_the_reference(bench: Trainings) -> None:
    train = bench.trained("t", 4)
    task = bench.made(task_id=train.id, checkpoints=["4", str(bench.model)])
    found = [(one.candidate.key, one.candidate.is_base) for one in bench.document(task).candidates]
    assert found == [(f"{train.id}/checkpoint-4", False), ("base", True)]
    assert "several" not in str(task.notices)


def test_of_several_bases_none_is_the_reference(bench: Trainings, tmp_path: Path, tiny_model: Path) -> None:
    import shutil

    first = bench.trained("a", 4)
    other = bench.folder / "other"
    shutil.copytree(tiny_model, other)
    bench.look_at(other)
    second = bench.trained("b", 4)
    task = bench.made(checkpoints=[f"{first.id}:4", f"{second.id}:4"])
    assert [one.candidate.is_base for one in bench.document(task).candidates] == [False, False]
    assert "several base models" in str(task.notices)


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"checkpoints": ["7"]}, "spec.checkpoints", "no checkpoint of step 7"),
        ({"checkpoints": ["task-01k9zzzzzzzzzzzzz9:4"]}, "spec.checkpoints", "no task"),
        ({"checkpoints": ["nobody/has-this"]}, "spec.checkpoints", "no model"),
        ({"checkpoints": ["all"], "eval_file": "/x.jsonl"}, "spec.eval_file", "exclude each other"),
        ({"checkpoints": ["all"], "min_samples": 50, "max_samples": 20}, "spec.min_samples", "above"),
        ({"checkpoints": ["all"], "temperature": 1.5}, "spec.temperature", "1"),
        ({"checkpoints": ["all"], "max_samples": 4}, "spec.max_samples", "5"),
        ({"checkpoints": ["all"], "sample_file": "/etc/hostname"}, "spec.sample_file", "outside"),
        (
            {"checkpoints": ["all"], "split": "train", "sample_file": "SAMPLES"},
            "spec",
            "no samples of the part",
        ),
        ({"checkpoints": ["all"], "scorer_file": "/etc/hostname"}, "spec.scorer_file", "outside"),
        ({"checkpoints": ["all"], "scorer_file": "EMPTY"}, "spec.scorer_file", "mapping"),
        ({"benchmark_file": "/etc/hostname"}, "spec.benchmark_file", "outside"),
        ({"benchmark_file": "EMPTY"}, "spec.benchmark_file", "mapping"),
        ({"benchmark_file": "FUNCTION"}, "spec.benchmark_file", "!function"),
        ({"benchmark_file": "ELSEWHERE"}, "spec.benchmark_file", "outside"),
        ({"benchmark_file": "LINKED"}, "spec.benchmark_file", "outside"),
        ({"benchmark_file": "PATTERN"}, "spec.benchmark_file", "no file"),
        ({"benchmark_file": "TWICE", "benchmarks": ["mine"]}, "spec.benchmark_file", "too"),
        ({"benchmarks": ["../mine.yaml"]}, "spec.benchmarks", "of the form"),
        ({"checkpoints": ["all"], "benchmark_limit": 5}, "spec.benchmark_limit", "no benchmark"),
        ({"checkpoints": ["all"], "embedder": "/etc"}, "spec.embedder", "outside"),
        ({"checkpoints": ["all"], "composite_weights": {"beauty": 1}}, "spec.composite_weights", "beauty"),
        ({"checkpoints": ["all"], "composite_weights": {"judge": 1}}, "spec.composite_weights", "no judge"),
        ({"checkpoints": ["all"], "judge_base_url": "http://127.0.0.1:9/v1"}, "spec.judge_model", "is not"),
        ({"checkpoints": ["all"], "judge_model": "m"}, "spec.judge_base_url", "is not"),
        (
            {"checkpoints": ["all"], "judge_model": "m", "judge_base_url": "http://127.0.0.1:9/v1"},
            "spec.judge_base_url",
            "lists no judge",
        ),
        ({"checkpoints": ["all"], "embedder": "NOWHERE"}, "spec.embedder", "no folder"),
        ({"checkpoints": ["all"], "embedder": "WRITER"}, "spec.embedder", "writes text"),
        ({"checkpoints": ["all"], "sample_file": "EMPTY"}, "spec.sample_file", ""),
        ({"checkpoints": ["all"], "sample_file": "WITHOUT"}, "spec.sample_file", "expects no answer"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_its_place(
    bench: Trainings, spec: dict[str, Any], field: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda module: True)
    train = bench.trained("t", 4)
    (bench.folder / "empty.json").write_text("")
    (bench.folder / "without.json").write_text(json.dumps({"validation": [{"prompt": "What?"}]}))
    files = {
        "SAMPLES": bench.samples(("What?", "That.")),
        "NOWHERE": str(bench.folder / "nowhere"),
        "WRITER": str(bench.model),
        "EMPTY": str(bench.folder / "empty.json"),
        "WITHOUT": str(bench.folder / "without.json"),
    }
    for name, rows in (("elsewhere", "/etc/rows.json"), ("linked", "linked.json"), ("pattern", "*.json"),
                       ("twice", "empty.json")):  # fmt: skip
        file = bench.folder / f"{name}.yaml"
        file.write_text(f"task: mine\ndataset_path: json\ndataset_kwargs: {{data_files: '{rows}'}}\n")
        files[name.upper()] = str(file)
    (bench.folder / "linked.json").symlink_to("/etc/hostname")
    (bench.folder / "function.yaml").write_text("task: mine\ndoc_to_text: !function x.y\n")
    files["FUNCTION"] = str(bench.folder / "function.yaml")
    given = {key: files.get(value, value) if isinstance(value, str) else value for key, value in spec.items()}
    answer = bench.evaluate(task_id=train.id, **given)
    assert answer.status_code in (404, 422), answer.text
    error = error_of(answer)
    places = [problem.field or "" for problem in error.problems]
    assert any(place.startswith(field) for place in places), places
    assert words in error.message + str(error.problems)


def test_benchmarks_are_handed_to_the_job_as_values_with_real_paths(
    bench: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda module: True)
    train = bench.trained("t", 4)
    rows = bench.folder / "sums.jsonl"
    rows.write_text("{}\n")
    (bench.folder / "link.jsonl").symlink_to(rows)
    file = bench.folder / "mine.yaml"
    file.write_text("task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: link.jsonl}}\n")
    task = bench.made(task_id=train.id, benchmarks=["hellaswag"], benchmark_file=str(file), benchmark_limit=3)
    assert "not part of the forecast" in str(task.notices)
    document = bench.document(task)
    assert len(document.candidates) == 2
    assert document.own_benchmark == {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "output_type": "generate_until",
    }


def test_benchmarks_without_their_package_are_refused_with_the_cure(
    bench: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda module: module != "lm_eval")
    train = bench.trained("t", 4)
    error = error_of(bench.evaluate(task_id=train.id, benchmarks=["hellaswag"]))
    assert [one.field for one in error.problems] == ["spec.benchmarks"]
    assert "tunesmith[benchmarks]" in str(error.hint)


@pytest.fixture
def lm_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in beside the platform, in workers of its own: those of other tests have looked already."""
    own = shared_workers._Shared()
    monkeypatch.setattr(shared_workers, "shared", own)
    sample_checks._unknown_benchmarks.cache_clear()
    yield from benchmark_stand_in.installed(tmp_path / "packages", monkeypatch)
    own.get().close()


@pytest.mark.usefixtures("lm_eval")
def test_a_benchmark_that_nobody_knows_is_refused_at_submit_with_near_names(bench: Trainings) -> None:
    train = bench.trained("t", 4)
    error = error_of(bench.evaluate(task_id=train.id, benchmarks=["two_plus", "two_plus_hart"]))
    assert [one.field for one in error.problems] == ["spec.benchmarks"]
    assert "no benchmark `two_plus_hart`" in error.message
    assert "Did you mean `two_plus_hard`, `two_plus`?" in str(error.hint)
    assert bench.made(task_id=train.id, benchmarks=["two_plus"]).spec["benchmarks"] == ["two_plus"]
    nothing = error_of(bench.evaluate(task_id=train.id, benchmarks=["quiz"]))
    assert "lm-eval ls tasks" in str(nothing.hint)


def test_the_judge_of_a_job_is_as_the_administrator_lists_it(bench: Trainings) -> None:
    """A task that named the variable too could have any secret of its environment sent there."""
    settings = bench.plane.settings
    settings.judges = {"https://judge.example/v1/": "JUDGE_KEY", "http://127.0.0.1:9/v1": ""}
    train = bench.trained("t", 4)
    for url, listed in (
        ("https://judge.example/v1", "https://judge.example/v1/"),
        ("http://127.0.0.1:9/v1",) * 2,
    ):
        task = bench.made(task_id=train.id, checkpoints=["all"], judge_base_url=url, judge_model="m")
        judge = bench.document(task).judge
        assert judge == JudgeSettings(
            base_url=listed, model="m", key_variable=settings.judges[listed] or None
        )
        bench.client.post(f"/v1/tasks/{task.id}:stop")
        end(bench.plane, task)
    task = bench.made(task_id=train.id, checkpoints=["all"], judge_base_url=url, judge_model="m")
    settings.judges = {}
    assert bench.document(task).judge is None
    spec = {"judge_base_url": "https://else.example/v1", "judge_model": "m"}
    refused = error_of(bench.evaluate(task_id=train.id, checkpoints=["all"], **spec))
    assert "TUNESMITH_JUDGES" in str(refused.hint) + str(refused.problems)


@pytest.mark.parametrize(
    "spec",
    [
        {"judge_base_url": "https://u:CANARY@judge.example/v1", "judge_model": "m"},
        {"judge_base_url": "https://judge.example/v1?key=CANARY", "judge_model": "m"},
        {"judge_base_url": "https://judge.example/v1", "judge_model": "m", "judge_api_key": "CANARY"},
        {"judge_base_url": "CANARY", "judge_model": "m"},
    ],
)
def test_a_key_that_is_written_out_is_refused_and_not_repeated(
    bench: Trainings, caplog: pytest.LogCaptureFixture, spec: dict[str, Any]
) -> None:
    bench.plane.settings.judges = {"https://judge.example/v1": "JUDGE_KEY"}
    train = bench.trained("t", 4)
    with caplog.at_level("DEBUG"):
        answer = bench.evaluate(task_id=train.id, checkpoints=["all"], **spec)
    assert answer.status_code == 422
    assert "judge_" in answer.text
    assert "CANARY" not in answer.text + caplog.text
    everything = bench.client.get("/v1/tasks").text
    assert "CANARY" not in everything


def labelled(bench: Trainings, *rows: dict[str, str]) -> str:
    file = bench.folder / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_classifiers_are_compared_with_each_other_and_no_base(bench: Trainings) -> None:
    train = bench.trained("t", 4, 8, training_type="classification")
    rows = labelled(bench, {"text": "fine", "label": "good"}, {"text": "sad", "label": "bad"})
    task = bench.made(task_id=train.id, checkpoints=["all"], sample_file=rows)
    assert "knows no classes" in str(task.notices)
    document = bench.document(task)
    assert [one.candidate.key for one in document.candidates] == [
        f"{train.id}/checkpoint-{n}" for n in (4, 8)
    ]
    assert all(one.training["training_type"] == "classification" for one in document.candidates)
    given = {"task_id": train.id, "checkpoints": ["all"], "sample_file": rows}
    asked = bench.client.post("/v1/evaluations:forecast", json={"kind": "evaluate", "spec": given})
    assert asked.json()["generations"] == 4


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        ({"sample_file": "default"}, "spec.sample_file", "no classes"),
        ({}, "spec.sample_file", "no classes"),
        ({"sample_file": "PAIRS"}, "spec.sample_file", "1 of 1 samples"),
        ({"judge_base_url": "http://127.0.0.1:9/v1", "judge_model": "m"}, "spec.judge_base_url", "classes"),
        ({"composite_weights": {"rouge_l": 1}}, "spec.composite_weights", "classes"),
        ({"benchmarks": ["hellaswag"]}, "spec.benchmarks", "classes"),
        ({"checkpoints": ["all", "OTHER:all"]}, "spec.checkpoints", "cannot be compared"),
    ],
)
def test_what_classifiers_cannot_be_asked_is_refused(
    bench: Trainings, more: dict[str, Any], field: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda module: True)
    train, other = bench.trained("t", 4, training_type="classification"), bench.trained("o", 4)
    given = {"task_id": train.id, "checkpoints": ["all"]} | more
    if given.get("sample_file") == "PAIRS":
        given["sample_file"] = bench.samples(("What?", "That."))
    elif "sample_file" not in more and more:
        given["sample_file"] = labelled(bench, {"text": "fine", "label": "good"})
    given["checkpoints"] = [str(one).replace("OTHER", other.id) for one in given["checkpoints"]]
    error = error_of(bench.evaluate(**given))
    assert any((problem.field or "").startswith(field) for problem in error.problems), error
    assert words in error.message + str(error.problems)


def result_of(task: TaskView, train: TaskView) -> EvaluationResult:
    """A result as a job leaves it, of one checkpoint."""
    text = EVALUATION_RESULT.model_dump_json().replace(EVALUATION_RESULT.task_id, train.id)
    return EvaluationResult.model_validate_json(text).model_copy(update={"task_id": task.id})


def finished(bench: Trainings, train: TaskView, **more: Any) -> TaskView:
    """An evaluation that recommends checkpoint 50."""
    task = bench.made(task_id=train.id, checkpoints=["all"])
    bench.plane.tick()
    folder = bench.folder / task.id
    folder.mkdir()
    data = result_of(task, train).model_dump_json().encode()
    (folder / "result.json").write_bytes(data)
    key = f"{train.id}/checkpoint-50"
    scored = {"kind": "scored", "candidate": key, "label": "t checkpoint-50", "step": 50, "total": 2}
    made = {
        "kind": "evaluation_made", "uri": str(folder), "sha256": hashlib.sha256(data).hexdigest(),
        "comparable_by": "c" * 64, "recommended": key, "task_id": train.id, "step": 50,
        "means": {key: {"composite": 0.5}}, "sentence": {"en": "It is better.", "zh": "更好。"},
    } | more  # fmt: skip
    bench.plane.report(
        task, scored | {"answered": 1}, scored | {"answered": 2, "means": {"composite": 0.5}}, made
    )
    end(bench.plane, task)
    return task


def test_what_is_reported_is_shown_and_the_recommended_checkpoint_is_marked(bench: Trainings) -> None:
    train = bench.trained("t", 25, 50)
    task = finished(bench, train)
    view = bench.client.get(f"/v1/tasks/{task.id}/evaluation").json()
    (one,) = view["candidates"]
    assert (one["answered"], one["total"], one["means"]) == (2, 2, {"composite": 0.5})
    assert (view["recommended"], view["sentence"]["zh"]) == (f"{train.id}/checkpoint-50", "更好。")
    listed = bench.client.get(f"/v1/tasks/{train.id}/checkpoints").json()["data"]
    assert {each["step"]: each["is_recommended"] for each in listed} == {25: False, 50: True}
    (summary,) = bench.client.get(f"/v1/evaluations?task={train.id}").json()["data"]
    assert summary["task_id"] == task.id
    assert bench.client.get("/v1/evaluations?task=task-none").json()["data"] == []
    # The next evaluation has the say, also where it recommends none.
    finished(bench, train, step=25, recommended=f"{train.id}/checkpoint-25")
    listed = bench.client.get(f"/v1/tasks/{train.id}/checkpoints").json()["data"]
    assert {each["step"]: each["is_recommended"] for each in listed} == {25: True, 50: False}
    assert len(bench.client.get(f"/v1/evaluations?task={train.id}").json()["data"]) == 2


def test_the_result_the_report_and_the_tables(bench: Trainings) -> None:
    train = bench.trained("t", 50)
    task = finished(bench, train)
    path = f"/v1/tasks/{task.id}/evaluation"
    assert EvaluationResult.model_validate(bench.client.get(f"{path}/result").json()) == result_of(
        task, train
    )
    for language in ("en", "zh"):
        page = bench.client.get(f"{path}/report?language={language}")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "checkpoint-50" in page.text
    for table in ("answers", "candidates"):
        text = bench.client.get(f"{path}/{table}.csv").text
        assert "checkpoint-50" in text
    again = bench.client.post(f"{path}:recompute", json={"weights": {"format": 1.0}, "score": "composite"})
    assert again.status_code == 200, again.text
    assert again.json()["weights"] == {"format": 1.0}
    wrong = bench.client.post(f"{path}:recompute", json={"score": "beauty"})
    assert (wrong.status_code, error_of(wrong).problems[0].field) == (422, "score")


def test_of_each_candidate_the_newest_word_is_shown_in_the_order_in_which_they_are_asked(
    bench: Trainings,
) -> None:
    """However many there were before: of very many the oldest alone were looked at."""
    train = bench.trained("t", 25, 50)
    task = bench.made(task_id=train.id, checkpoints=["all"])
    bench.plane.tick()
    keys = ["base", f"{train.id}/checkpoint-25", f"{train.id}/checkpoint-50"]
    said = [
        {"kind": "scored", "candidate": key, "label": key, "answered": answered, "total": 30}
        for key in reversed(keys) for answered in range(30)
    ]  # fmt: skip
    bench.plane.report(task, *said)
    shown = bench.client.get(f"/v1/tasks/{task.id}/evaluation").json()["candidates"]
    assert [(one["candidate"], one["answered"]) for one in shown] == [(key, 29) for key in keys]
    with bench.plane.services.database.read() as session:
        found = events.newest_of_each(session, INSTALLATION, task.id, "scored", "candidate")
    assert len(found) == len(keys), "no more is read than is shown"


def test_a_result_is_read_in_a_worker_and_a_small_one_once(
    bench: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the API all others would wait: 3.7 s, of 10 000 samples and 8 checkpoints."""
    asked: list[str] = []
    ask = results.ask

    def counted(name: str, about: str, **more: Any) -> bytes:
        asked.append(name)
        return ask(name, about, **more)

    monkeypatch.setattr(results, "ask", counted)
    train = bench.trained("t", 50)
    path = f"/v1/tasks/{finished(bench, train).id}/evaluation"
    for weights in ({"format": 1.0}, {"format": 1.0}, {"rouge_l": 1.0}):
        again = bench.client.post(f"{path}:recompute", json={"weights": weights})
        assert again.json()["weights"] == weights
    first = bench.client.get(f"{path}/report?language=en").content
    assert bench.client.get(f"{path}/report?language=en").content == first
    assert bench.client.get(f"{path}/report?language=zh").content != first
    assert asked == ["evaluation_recomputed"] * 2 + ["evaluation_report"] * 2


def test_a_result_that_was_changed_or_is_gone_is_not_shown(bench: Trainings) -> None:
    train = bench.trained("t", 50)
    task = finished(bench, train)
    file = bench.folder / task.id / "result.json"
    file.write_text(file.read_text().replace("It is 4.", "It is 5."))
    answer = bench.client.get(f"/v1/tasks/{task.id}/evaluation/result")
    assert (answer.status_code, "not what was stored" in error_of(answer).message) == (503, True)
    file.unlink()
    answer = bench.client.get(f"/v1/tasks/{task.id}/evaluation/report")
    assert (answer.status_code, "gone" in error_of(answer).message) == (503, True)


def test_what_is_no_comparison_has_no_table_and_what_found_nothing_no_result(bench: Trainings) -> None:
    train = bench.trained("t", 50)
    answer = bench.client.get(f"/v1/tasks/{train.id}/evaluation")
    assert (answer.status_code, error_of(answer).code) == (409, "conflict")
    task = bench.made(task_id=train.id, checkpoints=["all"])
    assert bench.client.get(f"/v1/tasks/{task.id}/evaluation").json()["candidates"] == []
    assert bench.client.get(f"/v1/tasks/{task.id}/evaluation/result").status_code == 404


def test_mlflow_shows_the_scores_on_the_checkpoints_model(bench: Trainings) -> None:
    train = bench.trained("t", 50)
    finished(bench, train)
    bench.plane.mirror.tick()
    run = bench.plane.tracking.runs[f"run-{train.id}"]
    points = [point for point in run.points if "composite" in point.name]
    assert [(point.name, point.step, point.value) for point in points] == [("evaluation/composite", 50, 0.5)]
    assert "t-checkpoint-50" in run.models


def test_deleted_with_its_files_an_evaluation_leaves_nothing_and_takes_nothing_of_others(
    bench: Trainings,
) -> None:
    train = bench.trained("t", 50)
    task = finished(bench, train)
    artifacts = Path(str(task.artifact_uri))
    found = artifacts / EVALUATION
    found.mkdir(parents=True)
    (found / "result.json").write_text("{}")
    manifest = Manifest(task_id=task.id, attempt=1, step=0, kind="evaluation", files=list_files(found))
    (found / "manifest.json").write_bytes(manifest.encode())
    notes = artifacts / "notes.txt"
    notes.write_text("by hand")
    bench.plane.services.tasks.delete(LOCAL, task.id, with_files=True)
    assert [path.name for path in artifacts.rglob("*")] == ["notes.txt"]
    assert Path(str(train.artifact_uri), "checkpoints", "checkpoint-50").is_dir()
    assert bench.client.get("/v1/evaluations").json()["data"] == []


def test_python_asks_for_what_the_command_line_asks_for(
    bench: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = bench.trained("t", 4)
    client = Client("http://testserver", bench.plane.api_key)
    client.close()
    monkeypatch.setattr(client._transport, "_http", bench.client)
    task = client.evaluate(train.id, [4], "default", name="asked", max_samples=9)
    assert (task.name, task.spec["checkpoints"], task.spec["max_samples"]) == ("asked", ["4"], 9)
    assert client.evaluation(task.id).candidates == []
    assert client.evaluations() == []


def test_what_an_evaluation_will_take_is_told_before_it_starts(bench: Trainings) -> None:
    train = bench.trained("t", 4, 8)
    body = {
        "kind": "evaluate",
        "spec": {"task_id": train.id, "checkpoints": ["all"], "max_samples": 9, "max_new_tokens": 10},
    }
    before = len(bench.client.get("/v1/tasks").json()["data"])
    answer = bench.client.post("/v1/evaluations:forecast", json=body)
    assert answer.status_code == 200, answer.text
    found = EvaluationForecast.model_validate(answer.json())
    assert (found.samples, found.repeats, found.generations, found.most_new_tokens) == (9, 1, 27, 270)
    assert len(found.candidates) == 3
    assert found.seconds > 0
    assert found.memory_bytes > 560 * 10**6, "the libraries alone"
    assert len(bench.client.get("/v1/tasks").json()["data"]) == before, "nothing was started"
    # Drawn answers are repeated, and more tokens take longer.
    body["spec"] |= {"temperature": 0.5, "repeats": 3, "max_new_tokens": 100}
    longer = bench.client.post("/v1/evaluations:forecast", json=body).json()
    assert longer["generations"] == 81
    assert longer["seconds"] > 3 * found.seconds
    assert longer["memory_bytes"] > found.memory_bytes
    # What an answer took once is known better than what the formula says.
    finished(bench, train, answer_seconds=2.0)
    body["spec"] |= {"temperature": 0, "max_new_tokens": 256}
    told = bench.client.post("/v1/evaluations:forecast", json=body).json()
    assert told["seconds"] == pytest.approx(27 * 2.0)
    assert "past task" in told["source"]
    body["spec"] = {"task_id": train.id, "eval_file": str(bench.folder / "rows.jsonl")}
    refused = bench.client.post("/v1/evaluations:forecast", json=body)
    assert refused.status_code == 422
    assert "compares no candidates" in error_of(refused).message


def test_what_a_judge_will_take_is_told_once_it_was_asked_before(bench: Trainings) -> None:
    """Of another judge nothing is known, and so nothing is said."""
    bench.plane.settings.judges = dict.fromkeys(("http://127.0.0.1:9/v1", "http://127.0.0.1:8/v1"), "")
    train = bench.trained("t", 4)
    judged = {"judge_base_url": "http://127.0.0.1:9/v1", "judge_model": "m"}

    def forecast(**more: Any) -> EvaluationForecast:
        spec = {"task_id": train.id, "checkpoints": ["all"], "max_samples": 9, **more}
        answer = bench.client.post("/v1/evaluations:forecast", json={"kind": "evaluate", "spec": spec})
        return EvaluationForecast.model_validate(answer.json())

    assert (forecast().judgements, forecast().judge_seconds) == (0, None)
    first = forecast(**judged)
    assert (first.generations, first.judgements, first.judge_seconds) == (18, 18, None)
    for seconds in (3.0, 2.0, None):  # the newest had all verdicts from before
        past = bench.made(task_id=train.id, checkpoints=["all"], **judged)
        bench.plane.tick()
        made = {"kind": "evaluation_made", "uri": "/e", "sha256": "0" * 64, "comparable_by": "c"}
        bench.plane.report(past, made | {"judge_seconds": seconds})
        end(bench.plane, past)
    found = forecast(**judged)
    assert found.judge_seconds == 36.0
    assert "past task" in found.judge_source
    assert forecast(**judged | {"judge_base_url": "http://127.0.0.1:8/v1"}).judge_seconds is None


def test_a_forecast_reads_a_sample_file_once_as_long_as_it_stays(
    bench: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_platform.sandbox import sample_checks

    asked: list[str] = []
    real = sample_checks.ask
    monkeypatch.setattr(
        sample_checks, "ask", lambda name, *given, **more: asked.append(name) or real(name, *given, **more)
    )
    train = bench.trained("t", 4)
    spec = {"task_id": train.id, "checkpoints": ["all"], "sample_file": bench.samples(("What?", "That."))}
    body = {"kind": "evaluate", "spec": spec}
    for number in (1, 2):
        assert bench.client.post("/v1/evaluations:forecast", json=body).json()["samples"] == number
        bench.made(**spec)
        assert asked.count("count_samples") == number
        bench.samples(("What?", "That."), ("Why?", "So."))


def under_way(bench: Trainings, *steps: int, **spec: Any) -> TaskView:
    """A training that goes on, with checkpoints."""
    given = {"model_name_or_path": "m", "train_file": "/t"} | spec
    answer = bench.client.post("/v1/tasks", json={"name": "t", "spec": given})
    assert answer.status_code == 201, answer.text
    task = bench.plane.task(answer.json()["id"])
    bench.plane.tick()
    bench.plane.job(task, JobStatus.RUNNING)
    bench.plane.tick()
    bench.plane.report(task, {"kind": "training_started", "step": 0, "total_steps": 100})
    for step in steps:
        saved(bench.plane, task, step)
    return bench.plane.task(task.id)


@pytest.mark.parametrize(
    ("use", "spared"),
    [
        ({"kind": "evaluate", "spec": {"checkpoints": ["4", "8"]}}, [4, 8]),
        ({"kind": "evaluate", "spec": {"checkpoints": ["all"]}}, [4, 8, 12]),
        ({"kind": "package", "spec": {"checkpoint": 8}}, [8]),
    ],
)
def test_a_checkpoint_that_a_task_uses_is_spared_until_that_is_over(
    bench: Trainings, use: dict[str, Any], spared: list[int]
) -> None:
    train = under_way(bench, 4, 8, 12)
    assert bench.plane.report(train).pinned == []
    body = use | {"spec": use["spec"] | {"task_id": train.id}}
    answer = bench.client.post("/v1/tasks", json=body)
    assert answer.status_code == 201, answer.text
    assert bench.plane.report(train).pinned == spared
    bench.client.post(f"/v1/tasks/{train.id}/checkpoints/12:pin")
    assert bench.plane.report(train).pinned == sorted({*spared, 12})
    assert bench.client.post(f"/v1/tasks/{answer.json()['id']}:stop").status_code in (200, 202)
    assert bench.plane.task(answer.json()["id"]).state.is_terminal
    assert bench.plane.report(train).pinned == [12]


def test_files_of_a_checkpoint_that_is_being_compared_are_not_deleted(bench: Trainings) -> None:
    first, second = bench.trained("a", 4), bench.trained("b", 2)
    task = bench.made(task_id=first.id, checkpoints=["4", f"{second.id}:2"])
    for train in (first, second):
        answer = bench.client.delete(f"/v1/tasks/{train.id}?files=true")
        assert (answer.status_code, error_of(answer).code) == (409, "conflict"), train.name
    bench.client.post(f"/v1/tasks/{task.id}:stop")
    assert bench.client.delete(f"/v1/tasks/{second.id}?files=true").status_code == 204


def test_of_all_checkpoints_one_that_was_just_removed_is_left_out(bench: Trainings) -> None:
    import shutil

    train = under_way(bench, 4, 8)
    shutil.rmtree(Path(train.artifact_uri or "") / "checkpoints" / "checkpoint-4")
    task = bench.made(task_id=train.id, checkpoints=["all"])
    assert [one.candidate.step for one in bench.document(task).candidates] == [0, 8]
    assert "checkpoint-4" in str(task.notices)
    answer = bench.evaluate(task_id=train.id, checkpoints=["4"])
    assert (answer.status_code, "gone" in error_of(answer).message) == (422, True)
