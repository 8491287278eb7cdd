"""`tunesmith estimate`: the flags of `train`, an answer for people or as JSON, waiting for a measurement."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_api import KEY

from tunesmith.cli import estimate as command
from tunesmith.client import Client
from tunesmith.client.transport import Transport
from tunesmith.estimate import EstimateView
from tunesmith.spec.training import TrainSpec

VIEW: dict[str, Any] = {
    "level": "formula",
    "steps": {
        "steps_per_epoch": 25,
        "total_steps": 50,
        "warmup_steps": 5,
        "evaluations": 0,
        "checkpoints": 3,
    },
    "data": {
        "rows": 198,
        "is_sample": True,
        "looked_at": 100,
        "cut_share": 0.02,
        "dropped_share": 0.0,
        "tokens": 30112,
        "tokens_lost": 411,
        "supervised_tokens": 14903,
        "mean_tokens": 152.1,
        "longest_tokens": 512,
        "padding_share": 0.31,
        "padding_share_packed": 0.02,
    },
    "disk": {
        "checkpoint_bytes": 2**20,
        "kept": 3,
        "final_bytes": 2**20,
        "total_bytes": 2**22,
        "free_bytes": 2**30,
    },
    "memory": {
        "weights": 2**29,
        "gradients": 2**24,
        "optimizer": 2**25,
        "activations": 2**30,
        "logits": 2**27,
        "framework": 2**29,
        "peak": 2**31,
    },
    "time": {
        "seconds_per_step": 2.0,
        "training_seconds": 100,
        "start_seconds": 20,
        "total_seconds": 120,
        "source": "the past task `ember` with the same model",
    },
    "hardware": {"device": "cpu", "name": "a CPU", "precision": "fp32", "workers": 1, "memory_bytes": 2**33},
    "trainable_parameters": 4884480,
    "parameters": 134515008,
    "fits": True,
    "measurement": None,
}
MEASUREMENT = {"id": "measure-1", "state": "measuring", "created_at": "2026-11-21T12:00:00Z"}
FLAGS = ("--model", "m", "--train-file", "/t.jsonl")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[Any], list[Any]]]:
    """What was asked, and what the server answers next."""
    asked: list[Any] = []
    answers: list[Any] = []

    def call(_self: Transport, method: str, path: str, **more: Any) -> Any:
        asked.append((method, path, more.get("query"), more.get("body")))
        return answers.pop(0)

    monkeypatch.setattr(Transport, "call", call)
    monkeypatch.setattr(command, "_POLL_SECONDS", 0.0)
    monkeypatch.setenv("TUNESMITH_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TUNESMITH_API_KEY", KEY)
    yield asked, answers
    assert not answers


def test_it_takes_the_flags_of_train_and_answers_in_words(calls: Any, cli: Callable[..., Any]) -> None:
    asked, answers = calls
    answers.append(VIEW)
    said = cli("estimate", *FLAGS, "--lora-r", "8", "--batch_size", "1")
    assert said.code == 0, said.err
    method, path, query, body = asked[0]
    assert (method, path, query["measure"]) == ("POST", "/v1/tasks:estimate", False)
    assert TrainSpec.read(body["spec"]).r == 8
    words = " ".join(said.out.split())
    for expected in (
        "about 198",
        "50 (25 an epoch)",
        "3, which is the training quota",
        "2.0 GiB by formula",
        "ember",
    ):
        assert expected in words, words
    assert "It fits." in said.err


def test_what_does_not_fit_exits_with_1_and_the_cure(calls: Any, cli: Callable[..., Any]) -> None:
    calls[1].append(VIEW | {"fits": False, "recommendation": "Use `per_device_train_batch_size=1`."})
    said = cli("estimate", *FLAGS, "--json")
    assert said.code == 1
    assert json.loads(said.out)["fits"] is False
    EstimateView.model_validate_json(said.out)
    calls[1].append(VIEW | {"fits": False, "recommendation": "Use `per_device_train_batch_size=1`."})
    assert "per_device_train_batch_size=1" in cli("estimate", *FLAGS).err


def test_what_is_not_known_is_said_and_no_failure(calls: Any, cli: Callable[..., Any]) -> None:
    hardware = VIEW["hardware"] | {"device": "gpu", "name": "a GPU of the cluster", "memory_bytes": None}
    setting = {"name": "QLoRA", "memory": VIEW["memory"], "seconds_per_step": 1.0, "fits": None}
    calls[1].append(VIEW | {"hardware": hardware, "fits": None, "settings": [setting]})
    said = cli("estimate", *FLAGS)
    assert said.code == 0, said.err
    assert "the cluster does not say" in " ".join(said.out.split())
    assert "?" in said.out
    assert "It does not fit" not in said.err
    assert "not known" in said.err


def test_measuring_is_waited_for(calls: Any, cli: Callable[..., Any]) -> None:
    asked, answers = calls
    measuring = VIEW | {"measurement": MEASUREMENT}
    done = VIEW | {"level": "measured", "measurement": MEASUREMENT | {"state": "done", "peak_bytes": 2**31}}
    answers += [measuring, measuring, done]
    said = cli("estimate", *FLAGS, "--measure")
    assert said.code == 0, said.err
    assert "2.0 GiB measured" in said.out
    assert [call[1] for call in asked[1:]] == ["/v1/estimates/measure-1"] * 2
    answers += [VIEW | {"measurement": MEASUREMENT | {"state": "failed", "message": "It ran out of memory."}}]
    said = cli("estimate", *FLAGS, "--measure")
    assert said.code == 1
    assert "ran out of memory" in said.err


def test_a_wrong_flag_never_reaches_the_server(calls: Any, cli: Callable[..., Any]) -> None:
    said = cli("estimate", *FLAGS, "--learning-rate", "7")
    assert said.code == 1
    assert "learning_rate" in said.err
    assert calls[0] == []


@pytest.mark.parametrize("kind", ["parameters", "task", "spec"])
def test_the_client_takes_a_task_or_its_parameters(calls: Any, kind: str) -> None:
    asked, answers = calls
    answers.append(VIEW)
    parameters = {"model_name_or_path": "m", "train_file": "/t", "r": 8}
    given = {"parameters": parameters, "task": {"spec": parameters}, "spec": TrainSpec.read(parameters)}[kind]
    with Client("http://127.0.0.1:9", KEY) as client:
        view = client.estimate(given)
    assert view.steps.checkpoints == 3
    assert asked[0][3]["spec"] == parameters
