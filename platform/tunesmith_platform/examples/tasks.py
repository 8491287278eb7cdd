"""Tasks: what is sent to make and change them, and what is answered."""

from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.events import ReportReceipt
from tunesmith.job import RunnerAnswer
from tunesmith.lifecycle import Desired, State
from tunesmith.spec.kinds import DEFAULT_KIND
from tunesmith_platform.examples.common import TASK_ID, TIME

TASK = views.TaskView(
    id=TASK_ID,
    kind=DEFAULT_KIND,
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
    created_at=TIME,
    started_at=TIME,
    heartbeat_at=TIME,
)
TASKS = views.Page[views.TaskView](data=[TASK], has_more=False)
TASK_CHECK = views.TaskCheck(
    kind=DEFAULT_KIND,
    spec={"model_name_or_path": "SmolLM2-135M-Instruct", "train_file": "/data/train.jsonl", "r": 16},
    rows=500,
)
CHECKPOINTS = views.Page[views.CheckpointView](
    data=[
        views.CheckpointView(
            task_id=TASK_ID,
            step=50,
            name="checkpoint-50",
            attempt=1,
            uri="/data/files/mlflow/0/1f0c/artifacts/checkpoints/checkpoint-50",
            bytes=58_720_256,
            files=8,
            manifest_sha256="9f2b" * 16,
            metrics={"loss": 1.71},
            created_at=TIME,
        )
    ],
    has_more=False,
)
STEP_ROWS = views.StepRows(
    task_id=TASK_ID, step=37, epoch=1, steps_per_epoch=25, file="/data/alpaca.jsonl", rows=[14, 55, 120, 198]
)
CHECKPOINT = CHECKPOINTS.data[0].model_copy(update={"is_pinned": True})
SAVE_REQUEST = views.SaveRequestView(task_id=TASK_ID, requests=1)
RECEIPT = ReportReceipt(last_seq=57, desired=Desired.RUN)
RUNNER_ANSWER = RunnerAnswer(document_uri="/data/files/tasks/task-01k9x/attempt-1.json")
DIFF = views.TaskDiff(
    a=TASK,
    b=TASK.model_copy(update={"id": "task-01k9xq8000000000ab"}),
    differences=[
        views.ParameterDifference(
            name="learning_rate", label_en="Learning rate", label_zh="学习率", a=2e-4, b=5e-4
        )
    ],
)


def new_task_body() -> Any:
    """The body of a submit, with an example of the shortest one and of one with parameters."""
    short = {
        "spec": {"model_name_or_path": "SmolLM2-135M-Instruct", "train_file": "/data/train.jsonl"},
    }
    long = {
        "kind": DEFAULT_KIND,
        "name": "ember",
        "tags": ["demo"],
        "spec": short["spec"] | {"learning_rate": 5e-4, "num_train_epochs": 3, "r": 16, "logging_steps": 1},
    }
    return Body(
        openapi_examples={
            "short": {"summary": "The defaults", "value": short},
            "parameters": {"summary": "With parameters", "value": long},
        }
    )


def copy_body() -> Any:
    """The body of a clone."""
    return Body(
        openapi_examples={
            "same": {"summary": "The same again", "value": {}},
            "changed": {
                "summary": "With another learning rate",
                "value": {"name": "ember-fast", "spec": {"learning_rate": 1e-3}},
            },
        }
    )


def stage_body() -> Any:
    """The body of a new stage."""
    return Body(
        openapi_examples={
            "newest": {
                "summary": "From its newest checkpoint, on other rows",
                "value": {"name": "ember-2", "spec": {"train_file": "/data/more.jsonl"}},
            },
            "step": {"summary": "From the checkpoint of a step", "value": {"step": 50}},
        }
    )


def more_steps_body() -> Any:
    """The body of a continuation."""
    return Body(
        openapi_examples={
            "rest": {"summary": "What is left of a stopped or failed task", "value": {}},
            "more": {"summary": "More epochs than it had", "value": {"num_train_epochs": 5}},
        }
    )


def task_change_body() -> Any:
    """The body of a change."""
    return Body(
        openapi_examples={"rename": {"summary": "Rename it", "value": {"name": "ember-2", "tags": ["demo"]}}}
    )
