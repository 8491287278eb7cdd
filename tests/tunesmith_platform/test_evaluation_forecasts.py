"""What an evaluation will take, told before it starts."""

from typing import Any

import pytest
from ended_tasks import end, error_of
from evaluated_trainings import Trainings, finished

from tunesmith.evaluation_views import EvaluationForecast
from tunesmith_platform.sandbox import sample_checks


def test_what_an_evaluation_will_take_is_told_before_it_starts(trainings: Trainings) -> None:
    train = trainings.trained("t", 4, 8)
    body = {
        "kind": "evaluate",
        "spec": {"task_id": train.id, "checkpoints": ["all"], "max_samples": 9, "max_new_tokens": 10},
    }
    before = len(trainings.client.get("/v1/tasks").json()["data"])
    answer = trainings.client.post("/v1/evaluations:forecast", json=body)
    assert answer.status_code == 200, answer.text
    found = EvaluationForecast.model_validate(answer.json())
    assert (found.samples, found.repeats, found.generations, found.most_new_tokens) == (9, 1, 27, 270)
    assert len(found.candidates) == 3
    assert found.seconds > 0
    assert found.memory_bytes > 560 * 10**6, "the libraries alone"
    assert len(trainings.client.get("/v1/tasks").json()["data"]) == before, "nothing was started"
    # Drawn answers are repeated, and more tokens take longer.
    body["spec"] |= {"temperature": 0.5, "repeats": 3, "max_new_tokens": 100}
    longer = trainings.client.post("/v1/evaluations:forecast", json=body).json()
    assert longer["generations"] == 81
    assert longer["seconds"] > 3 * found.seconds
    assert longer["memory_bytes"] > found.memory_bytes
    # What an answer took once is known better than what the formula says.
    finished(trainings, train, answer_seconds=2.0)
    body["spec"] |= {"temperature": 0, "max_new_tokens": 256}
    told = trainings.client.post("/v1/evaluations:forecast", json=body).json()
    assert told["seconds"] == pytest.approx(27 * 2.0)
    assert "past task" in told["source"]
    body["spec"] = {"task_id": train.id, "eval_file": str(trainings.folder / "rows.jsonl")}
    refused = trainings.client.post("/v1/evaluations:forecast", json=body)
    assert refused.status_code == 422
    assert "compares no candidates" in error_of(refused).message


def test_what_a_judge_will_take_is_told_once_it_was_asked_before(trainings: Trainings) -> None:
    """Of another judge nothing is known, and so nothing is said."""
    trainings.plane.settings.judges = dict.fromkeys(("http://127.0.0.1:9/v1", "http://127.0.0.1:8/v1"), "")
    train = trainings.trained("t", 4)
    judged = {"judge_base_url": "http://127.0.0.1:9/v1", "judge_model": "m"}

    def forecast(**more: Any) -> EvaluationForecast:
        spec = {"task_id": train.id, "checkpoints": ["all"], "max_samples": 9, **more}
        answer = trainings.client.post("/v1/evaluations:forecast", json={"kind": "evaluate", "spec": spec})
        return EvaluationForecast.model_validate(answer.json())

    assert (forecast().judgements, forecast().judge_seconds) == (0, None)
    first = forecast(**judged)
    assert (first.generations, first.judgements, first.judge_seconds) == (18, 18, None)
    for seconds in (3.0, 2.0, None):  # the newest had all verdicts from before
        past = trainings.made(task_id=train.id, checkpoints=["all"], **judged)
        trainings.plane.tick()
        made = {"kind": "evaluation_made", "uri": "/e", "sha256": "0" * 64, "comparable_by": "c"}
        trainings.plane.report(past, made | {"judge_seconds": seconds})
        end(trainings.plane, past)
    found = forecast(**judged)
    assert found.judge_seconds == 36.0
    assert "past task" in found.judge_source
    assert forecast(**judged | {"judge_base_url": "http://127.0.0.1:8/v1"}).judge_seconds is None


def test_a_forecast_reads_a_sample_file_once_as_long_as_it_stays(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:

    asked: list[str] = []
    real = sample_checks.ask
    monkeypatch.setattr(
        sample_checks, "ask", lambda name, *given, **more: asked.append(name) or real(name, *given, **more)
    )
    train = trainings.trained("t", 4)
    spec = {"task_id": train.id, "checkpoints": ["all"], "sample_file": trainings.samples(("What?", "That."))}
    body = {"kind": "evaluate", "spec": spec}
    for number in (1, 2):
        assert trainings.client.post("/v1/evaluations:forecast", json=body).json()["samples"] == number
        trainings.made(**spec)
        assert asked.count("count_samples") == number
        trainings.samples(("What?", "That."), ("Why?", "So."))
