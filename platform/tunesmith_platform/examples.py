"""The examples that the API's description shows. A test holds each against its endpoint's model."""

import datetime as dt
from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.events import Metrics, ReportReceipt
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.task import Kind

_TIME = dt.datetime(2026, 11, 21, 9, 30, tzinfo=dt.UTC)
_ID = "task-01k9xq7c2m5d8e4f9g"

TASK = views.TaskView(
    id=_ID,
    kind=Kind.TRAIN,
    name="sft_20261121_093000",
    project="default",
    state=State.RUNNING,
    desired=Desired.RUN,
    health=views.Health.LIVE,
    message="Starting.",
    priority=0,
    tags=["demo"],
    notes="",
    attempt=1,
    progress=views.ProgressView(step=40, total_steps=150, percent=26.67, seconds_left=95.0, loss=1.93),
    spec={"model_name_or_path": "SmolLM2-135M-Instruct", "train_file": "/data/train.jsonl", "r": 16},
    events=57,
    artifact_uri="/data/files/mlflow/0/1f0c/artifacts",
    created_at=_TIME,
    started_at=_TIME,
    heartbeat_at=_TIME,
)
TASKS = views.Page[views.TaskView](data=[TASK], has_more=False)
EVENTS = views.Page[views.EventView](
    data=[views.EventView(n=12, attempt=1, time=_TIME, payload=Metrics(step=40, values={"loss": 1.93}))],
    has_more=False,
)
METRICS = views.Metrics(series={"loss": [views.MetricPoint(step=40, value=1.93, time=_TIME, attempt=1)]})
LOGS = views.Page[views.LogView](
    data=[views.LogView(n=3, time=_TIME, level="info", source="worker-0", message="198 rows encoded.")],
    has_more=False,
)
CHECKPOINTS = views.Page[views.CheckpointView](
    data=[
        views.CheckpointView(
            task_id=_ID,
            step=50,
            name="checkpoint-50",
            attempt=1,
            uri="/data/files/mlflow/0/1f0c/artifacts/checkpoints/checkpoint-50",
            bytes=58_720_256,
            files=8,
            manifest_sha256="9f2b" * 16,
            metrics={"loss": 1.71},
            created_at=_TIME,
        )
    ],
    has_more=False,
)
RECEIPT = ReportReceipt(last_seq=57, desired=Desired.RUN)
SYSTEM = views.SystemView(
    version="0.1.0",
    parts=[views.PartHealth(name="ray", ok=True)],
    tasks_by_state={"running": 1, "completed": 3},
    max_concurrent_jobs=1,
    allowed_roots=["/data"],
    mlflow_url="http://127.0.0.1:5000",
)
STREAM = f"id: 12\nevent: metrics\ndata: {EVENTS.data[0].model_dump_json()}\n\nevent: end\ndata: {{}}\n\n"


def new_task_body() -> Any:
    """The body of a submit, with an example of the shortest one and of one with parameters."""
    short = {
        "kind": "train",
        "spec": {"model_name_or_path": "SmolLM2-135M-Instruct", "train_file": "/data/train.jsonl"},
    }
    long = {
        "kind": "train",
        "name": "ember",
        "tags": ["demo"],
        "spec": short["spec"] | {"learning_rate": 5e-4, "num_train_epochs": 3, "r": 16, "logging_steps": 1},  # type: ignore[operator]
    }
    return Body(
        openapi_examples={
            "short": {"summary": "The defaults", "value": short},
            "parameters": {"summary": "With parameters", "value": long},
        }
    )


def task_change_body() -> Any:
    """The body of a change."""
    return Body(
        openapi_examples={"rename": {"summary": "Rename it", "value": {"name": "ember-2", "tags": ["demo"]}}}
    )
