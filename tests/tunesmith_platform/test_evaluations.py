"""Evaluations as the platform sees them: which candidates, what is refused, what is reported, what is shown of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_stand_in
import pytest
from ended_tasks import end, error_of
from evaluated_trainings import Trainings

from tunesmith.evaluation.scores.judge import JudgeSettings
from tunesmith_platform.sandbox import sample_checks, shared_workers
from tunesmith_platform.tasks.kinds import benchmarks


def test_all_checkpoints_of_a_task_and_its_base(trainings: Trainings) -> None:
    train = trainings.trained("t", 4, 12, 8)
    task = trainings.made(task_id=train.id, checkpoints=["all"])
    assert (task.kind, task.parent_id) == ("evaluate", train.id)
    document = trainings.document(task)
    assert [one.candidate.key for one in document.candidates] == [
        "base", f"{train.id}/checkpoint-4", f"{train.id}/checkpoint-8", f"{train.id}/checkpoint-12",
    ]  # fmt: skip
    base, first = document.candidates[:2]
    assert base.candidate.is_base
    assert (base.candidate.uri, base.training["use_lora"]) == (str(trainings.model), False)
    assert (first.base_path, first.training["use_lora"]) == (str(trainings.model), True)
    assert first.train_path == str(trainings.rows)
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
def test_which_candidates_words_name(trainings: Trainings, spec: dict[str, Any], keys: list[str]) -> None:
    first, second = trainings.trained("a", 4, 8), trainings.trained("b", 2)
    names = {"A": first.id, "B": second.id}
    given = dict(spec)
    if "checkpoints" in spec:
        given["checkpoints"] = [one.replace("B", second.id) for one in spec["checkpoints"]]
    found = trainings.document(trainings.made(task_id=first.id, **given)).candidates
    assert [one.candidate.key for one in found] == [
        key if key == "base" else names[key[0]] + key[1:] for key in keys
    ]


def test_the_checkpoints_of_the_task_whose_model_is_named_by_its_place(trainings: Trainings) -> None:
    """So a pipeline's step names them: what the training before it hands on is a place."""
    train = trainings.trained("t", 4, 8)
    place = trainings.client.get(f"/v1/tasks/{train.id}/checkpoints").json()["data"][0]["uri"]
    for named, steps in ((["all"], [4, 8]), (["8"], [8])):
        task = trainings.made(model_name_or_path=place, checkpoints=named)
        found = trainings.document(task).candidates
        assert [one.candidate.key for one in found] == [
            "base", *(f"{train.id}/checkpoint-{step}" for step in steps),
        ]  # fmt: skip
        trainings.client.post(f"/v1/tasks/{task.id}:stop")
        end(trainings.plane, task)
    refused = error_of(trainings.evaluate(model_name_or_path=str(trainings.model), checkpoints=["all"]))
    assert "the model of no task" in refused.message
    step = {"id": "e", "type": "model-evaluator", "task_id": train.id, "checkpoints": ["all"]}
    body = {"yaml": json.dumps({"components": [step]})}
    assert trainings.client.post("/v1/pipelines", json=body).status_code == 201, "looked at as a comparison"
    body = {"yaml": json.dumps({"components": [step | {"checkpoints": ["7"]}]})}
    assert "no checkpoint of step 7" in error_of(trainings.client.post("/v1/pipelines", json=body)).message


def test_the_base_by_its_folder_is_the_reference(trainings: Trainings) -> None:
    train = trainings.trained("t", 4)
    task = trainings.made(task_id=train.id, checkpoints=["4", str(trainings.model)])
    found = [(one.candidate.key, one.candidate.is_base) for one in trainings.document(task).candidates]
    assert found == [(f"{train.id}/checkpoint-4", False), ("base", True)]
    assert "several" not in str(task.notices)


def test_of_several_bases_none_is_the_reference(
    trainings: Trainings, tmp_path: Path, tiny_model: Path
) -> None:
    import shutil

    first = trainings.trained("a", 4)
    other = trainings.folder / "other"
    shutil.copytree(tiny_model, other)
    trainings.look_at(other)
    second = trainings.trained("b", 4)
    task = trainings.made(checkpoints=[f"{first.id}:4", f"{second.id}:4"])
    assert [one.candidate.is_base for one in trainings.document(task).candidates] == [False, False]
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
    trainings: Trainings, spec: dict[str, Any], field: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda module: True)
    train = trainings.trained("t", 4)
    (trainings.folder / "empty.json").write_text("")
    (trainings.folder / "without.json").write_text(json.dumps({"validation": [{"prompt": "What?"}]}))
    files = {
        "SAMPLES": trainings.samples(("What?", "That.")),
        "NOWHERE": str(trainings.folder / "nowhere"),
        "WRITER": str(trainings.model),
        "EMPTY": str(trainings.folder / "empty.json"),
        "WITHOUT": str(trainings.folder / "without.json"),
    }
    for name, rows in (("elsewhere", "/etc/rows.json"), ("linked", "linked.json"), ("pattern", "*.json"),
                       ("twice", "empty.json")):  # fmt: skip
        file = trainings.folder / f"{name}.yaml"
        file.write_text(f"task: mine\ndataset_path: json\ndataset_kwargs: {{data_files: '{rows}'}}\n")
        files[name.upper()] = str(file)
    (trainings.folder / "linked.json").symlink_to("/etc/hostname")
    (trainings.folder / "function.yaml").write_text("task: mine\ndoc_to_text: !function x.y\n")
    files["FUNCTION"] = str(trainings.folder / "function.yaml")
    given = {key: files.get(value, value) if isinstance(value, str) else value for key, value in spec.items()}
    answer = trainings.evaluate(task_id=train.id, **given)
    assert answer.status_code in (404, 422), answer.text
    error = error_of(answer)
    places = [problem.field or "" for problem in error.problems]
    assert any(place.startswith(field) for place in places), places
    assert words in error.message + str(error.problems)


def test_benchmarks_are_handed_to_the_job_as_values_with_real_paths(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda module: True)
    train = trainings.trained("t", 4)
    rows = trainings.folder / "sums.jsonl"
    rows.write_text("{}\n")
    (trainings.folder / "link.jsonl").symlink_to(rows)
    file = trainings.folder / "mine.yaml"
    file.write_text("task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: link.jsonl}}\n")
    task = trainings.made(
        task_id=train.id, benchmarks=["hellaswag"], benchmark_file=str(file), benchmark_limit=3
    )
    assert "not part of the forecast" in str(task.notices)
    document = trainings.document(task)
    assert len(document.candidates) == 2
    assert document.own_benchmark == {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "output_type": "generate_until",
    }


def test_benchmarks_without_their_package_are_refused_with_the_cure(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda module: module != "lm_eval")
    train = trainings.trained("t", 4)
    error = error_of(trainings.evaluate(task_id=train.id, benchmarks=["hellaswag"]))
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
def test_a_benchmark_that_nobody_knows_is_refused_at_submit_with_near_names(trainings: Trainings) -> None:
    train = trainings.trained("t", 4)
    error = error_of(trainings.evaluate(task_id=train.id, benchmarks=["two_plus", "two_plus_hart"]))
    assert [one.field for one in error.problems] == ["spec.benchmarks"]
    assert "no benchmark `two_plus_hart`" in error.message
    assert "Did you mean `two_plus_hard`, `two_plus`?" in str(error.hint)
    assert trainings.made(task_id=train.id, benchmarks=["two_plus"]).spec["benchmarks"] == ["two_plus"]
    nothing = error_of(trainings.evaluate(task_id=train.id, benchmarks=["quiz"]))
    assert "lm-eval ls tasks" in str(nothing.hint)


def test_the_judge_of_a_job_is_as_the_administrator_lists_it(trainings: Trainings) -> None:
    """A task that named the variable too could have any secret of its environment sent there."""
    settings = trainings.plane.settings
    settings.judges = {"https://judge.example/v1/": "JUDGE_KEY", "http://127.0.0.1:9/v1": ""}
    train = trainings.trained("t", 4)
    for url, listed in (
        ("https://judge.example/v1", "https://judge.example/v1/"),
        ("http://127.0.0.1:9/v1",) * 2,
    ):
        task = trainings.made(task_id=train.id, checkpoints=["all"], judge_base_url=url, judge_model="m")
        judge = trainings.document(task).judge
        assert judge == JudgeSettings(
            base_url=listed, model="m", key_variable=settings.judges[listed] or None
        )
        trainings.client.post(f"/v1/tasks/{task.id}:stop")
        end(trainings.plane, task)
    task = trainings.made(task_id=train.id, checkpoints=["all"], judge_base_url=url, judge_model="m")
    settings.judges = {}
    assert trainings.document(task).judge is None
    spec = {"judge_base_url": "https://else.example/v1", "judge_model": "m"}
    refused = error_of(trainings.evaluate(task_id=train.id, checkpoints=["all"], **spec))
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
    trainings: Trainings, caplog: pytest.LogCaptureFixture, spec: dict[str, Any]
) -> None:
    trainings.plane.settings.judges = {"https://judge.example/v1": "JUDGE_KEY"}
    train = trainings.trained("t", 4)
    with caplog.at_level("DEBUG"):
        answer = trainings.evaluate(task_id=train.id, checkpoints=["all"], **spec)
    assert answer.status_code == 422
    assert "judge_" in answer.text
    assert "CANARY" not in answer.text + caplog.text
    everything = trainings.client.get("/v1/tasks").text
    assert "CANARY" not in everything


def labelled(trainings: Trainings, *rows: dict[str, str]) -> str:
    file = trainings.folder / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_classifiers_are_compared_with_each_other_and_no_base(trainings: Trainings) -> None:
    train = trainings.trained("t", 4, 8, training_type="classification")
    rows = labelled(trainings, {"text": "fine", "label": "good"}, {"text": "sad", "label": "bad"})
    task = trainings.made(task_id=train.id, checkpoints=["all"], sample_file=rows)
    assert "knows no classes" in str(task.notices)
    document = trainings.document(task)
    assert [one.candidate.key for one in document.candidates] == [
        f"{train.id}/checkpoint-{n}" for n in (4, 8)
    ]
    assert all(one.training["training_type"] == "classification" for one in document.candidates)
    given = {"task_id": train.id, "checkpoints": ["all"], "sample_file": rows}
    asked = trainings.client.post("/v1/evaluations:forecast", json={"kind": "evaluate", "spec": given})
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
    trainings: Trainings, more: dict[str, Any], field: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda module: True)
    train, other = trainings.trained("t", 4, training_type="classification"), trainings.trained("o", 4)
    given = {"task_id": train.id, "checkpoints": ["all"]} | more
    if given.get("sample_file") == "PAIRS":
        given["sample_file"] = trainings.samples(("What?", "That."))
    elif "sample_file" not in more and more:
        given["sample_file"] = labelled(trainings, {"text": "fine", "label": "good"})
    given["checkpoints"] = [str(one).replace("OTHER", other.id) for one in given["checkpoints"]]
    error = error_of(trainings.evaluate(**given))
    assert any((problem.field or "").startswith(field) for problem in error.problems), error
    assert words in error.message + str(error.problems)
