"""What of a job goes outside takes the proxy that the shell named: an operation on data, and a tracker."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from data_jobs import Ear
from recording_proxy import recording_proxy

from tunesmith import proxies
from tunesmith.data_step import DataDocument
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.data import program
from tunesmith_jobs.program import Attempt
from tunesmith_jobs.train.telemetry import trackers
from tunesmith_jobs.worker import do


def test_an_operation_takes_the_proxy_of_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replies: list[int] = []

    def asks_the_hub(*_: Any) -> dict[str, Any]:
        replies.append(httpx.get("http://hub.invalid/api/datasets/x", trust_env=True).status_code)
        return {}

    document = DataDocument.model_construct(
        task_id="task-1",
        kind="dataset",
        operation="shuffle",
        parameters={"seed": 1},
        environment=[],
        rows_dir=str(tmp_path),
        work_dir=str(tmp_path),
        attempt=1,
    )
    monkeypatch.setattr(program, "run", asks_the_hub)
    monkeypatch.setattr(program, "read_operation", lambda *_: None)
    with recording_proxy() as proxy:
        for name, value in proxies.put_aside(proxy.environment).items():
            monkeypatch.setenv(name, value)
        do(Attempt.of(document), Ear())
        assert replies == [502], "the proxy's answer"
        assert proxy.heard[0].startswith(b"GET http://hub.invalid/api/datasets/x")
    assert "http_proxy" not in os.environ


def test_a_tracker_takes_the_proxy_of_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    given: list[Any] = []
    monkeypatch.setattr(wandb, "init", lambda **options: given.append(options["settings"]))
    aside = proxies.put_aside({"https_proxy": "http://secure.example:1", "ALL_PROXY": "http://all.example:1"})
    monkeypatch.setenv(proxies.ASIDE, aside[proxies.ASIDE])
    spec = TrainSpec.read({"model_name_or_path": "/m", "train_file": "/t.jsonl", "report_to": ["wandb"]})
    trackers.Wandb(trackers.Run(spec, "task-1", "run", str(tmp_path), tmp_path)).start(0, {})
    assert given[0].https_proxy == "http://secure.example:1"
    assert given[0].http_proxy == "http://all.example:1"
