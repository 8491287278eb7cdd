"""Estimates that are asked for, and the rows that they are of."""

import json
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tunesmith.errors import ErrorResponse
from tunesmith.estimate import EstimateView


def write(file: Path, count: int) -> Path:
    with file.open("w") as stream:
        for number in range(count):
            turns = [
                {"role": "user", "content": "What is the capital of France? " * (number % 5 + 1)},
                {"role": "assistant", "content": "It is Paris. " * (number % 7 + 1)},
            ]
            stream.write(json.dumps({"messages": turns}) + "\n")
    return file


def body(model: Path, rows: Path, **spec: Any) -> dict[str, Any]:
    return {"spec": {"model_name_or_path": str(model), "train_file": str(rows), "device": "cpu"} | spec}


def ask(client: TestClient, sent: dict[str, Any], status: int = 200, **query: Any) -> EstimateView:
    reply = client.post("/v1/tasks:estimate", json=sent, params=query)
    assert reply.status_code == status, reply.text
    return EstimateView.model_validate(reply.json())


def error_of(reply: Any) -> Any:
    return ErrorResponse.model_validate(reply.json()).error
