"""The examples that the API's description shows. A test holds each against its endpoint's model."""

import datetime as dt
from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.curves import Axis, ComparedTask, Comparison, Curve, Curves, Mode, Score
from tunesmith.environment import CheckStatus, Environment, EnvironmentCheck, Words
from tunesmith.events import Metrics, ReportReceipt
from tunesmith.lifecycle import Desired, State
from tunesmith.model_folder import LinearLayers, ModelFacts
from tunesmith.model_views import ModelState, ModelUse, ModelView
from tunesmith.spec.task import Kind
from tunesmith.templates import TemplateView

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
_CURVE = Curve(
    task_id=_ID,
    name="loss",
    count=2,
    bucket=1,
    x=[39, 40],
    step=[39, 40],
    value=[1.97, 1.93],
    time=[1795253399.5, 1795253400.0],
    attempts=[1, 1],
)
CURVES = Curves(x=Axis.STEP, mode=Mode.MERGED, curves=[_CURVE])
_SCORE = Score(
    name="loss",
    count=40,
    last=1.93,
    last_step=40,
    lowest=1.91,
    lowest_step=37,
    highest=3.2,
    highest_step=1,
)
COMPARISON = Comparison(x=Axis.STEP, tasks=[ComparedTask(task=TASK, scores=[_SCORE])], curves=[_CURVE])
METRICS_CSV = "name,attempt,segment,step,value,time\r\nloss,1,0,40,1.93,2026-11-21T09:30:00+00:00\r\n"
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
CHECKPOINT = CHECKPOINTS.data[0].model_copy(update={"is_pinned": True})
SAVE_REQUEST = views.SaveRequestView(task_id=_ID, requests=1)
RECEIPT = ReportReceipt(last_seq=57, desired=Desired.RUN)
SYSTEM = views.SystemView(
    version="0.1.0",
    parts=[views.PartHealth(name="ray", ok=True)],
    tasks_by_state={"running": 1, "completed": 3},
    max_concurrent_jobs=1,
    allowed_roots=["/data"],
    mlflow_url="http://127.0.0.1:5000",
)
QUOTA = views.QuotaView(
    project="default", enabled=True, low_threshold=5, granted=100, charged=12, reserved=6, available=82
)
QUOTAS = views.Page[views.QuotaView](data=[QUOTA], has_more=False)
QUOTA_ENTRIES = views.Page[views.QuotaEntryView](
    data=[
        views.QuotaEntryView(
            id=41,
            project="default",
            time=_TIME,
            kind=views.QuotaKind.GRANT,
            amount=100,
            reserved=0,
            available=100,
            note="November",
            by="local",
        )
    ],
    has_more=False,
)
_MODEL_FACTS = ModelFacts(
    path="/data/models/SmolLM2-135M-Instruct",
    architecture="LlamaForCausalLM",
    model_type="llama",
    parameters=134_515_008,
    dtype="bfloat16",
    context_length=8192,
    vocab_size=49_152,
    linear_modules=("q_proj", "v_proj"),
    linear_layers=(
        LinearLayers(name="q_proj", shape=(576, 576), count=30),
        LinearLayers(name="v_proj", shape=(192, 576), count=30),
    ),
    is_head_tied=True,
    tokenizer="BPE",
    has_chat_template=True,
    license="apache-2.0",
    bytes=269_060_552,
    weight_files=("model.safetensors",),
)
MODEL = ModelView(
    id="model-01k9xq7c2m5d8e4f9g",
    name="SmolLM2-135M-Instruct",
    state=ModelState.READY,
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    path=_MODEL_FACTS.path,
    is_found=True,
    facts=_MODEL_FACTS,
    sha256="5af5" * 16,
    disk_bytes=271_158_272,
    license_text="Apache License, Version 2.0",
    task_count=1,
    tasks=[ModelUse(id=_ID, name=TASK.name, state=TASK.state)],
    created_at=_TIME,
    checked_at=_TIME,
)
MODELS = views.Page[ModelView](data=[MODEL], has_more=False)
ENVIRONMENT = Environment(
    ok=False,
    checks=[
        EnvironmentCheck(
            name="ray",
            label=Words(en="Ray", zh="Ray 集群"),
            status=CheckStatus.OK,
            found="2.60.0, 1 node, 8 CPUs, no GPU, 24.0 GiB",
        ),
        EnvironmentCheck(
            name="disk",
            label=Words(en="Disk", zh="磁盘空间"),
            status=CheckStatus.FAILED,
            found="3.2 GiB free, 9.0 GiB forecast",
            cure=Words(
                en="Free some, or lower `save_total_limit`.", zh="请清理磁盘，或调低 save_total_limit。"
            ),
        ),
    ],
)
DIFF = views.TaskDiff(
    a=TASK,
    b=TASK.model_copy(update={"id": "task-01k9xq8000000000ab"}),
    differences=[
        views.ParameterDifference(
            name="learning_rate", label_en="Learning rate", label_zh="学习率", a=2e-4, b=5e-4
        )
    ],
)
TEMPLATE = TemplateView(
    name="short answers",
    description="Small LoRA for short answers.",
    parameters={"learning_rate": 5e-4, "r": 8},
    created_at=_TIME,
    updated_at=_TIME,
)
TEMPLATES = views.Page[TemplateView](data=[TEMPLATE], has_more=False)
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


def new_template_body() -> Any:
    """The body of a new template."""
    return Body(
        openapi_examples={
            "parameters": {
                "summary": "From parameters",
                "value": {"name": "short answers", "parameters": {"learning_rate": 5e-4, "r": 8}},
            },
            "task": {"summary": "From a task", "value": {"name": "ember's", "from_task": _ID}},
        }
    )


def template_change_body() -> Any:
    """The body of a change of a template."""
    return Body(openapi_examples={"rename": {"summary": "Rename it", "value": {"name": "brief answers"}}})


def task_change_body() -> Any:
    """The body of a change."""
    return Body(
        openapi_examples={"rename": {"summary": "Rename it", "value": {"name": "ember-2", "tags": ["demo"]}}}
    )


def quota_change_body() -> Any:
    """The body of a change of a quota."""
    return Body(
        openapi_examples={
            "enable": {"summary": "Switch it on", "value": {"enabled": True, "low_threshold": 5}}
        }
    )


def grant_body() -> Any:
    """The body of a grant."""
    return Body(
        openapi_examples={
            "grant": {"summary": "Grant 100", "value": {"amount": 100, "note": "November"}},
            "take": {"summary": "Take 10 away", "value": {"amount": -10}},
        }
    )


def new_model_body() -> Any:
    """The body of a registration."""
    return Body(
        openapi_examples={
            "folder": {"summary": "A folder", "value": {"source": "/data/my-model", "name": "mine"}},
            "pulled": {
                "summary": "A pulled model",
                "value": {"source": "HuggingFaceTB/SmolLM2-135M-Instruct"},
            },
        }
    )


def model_change_body() -> Any:
    """The body of a model's change."""
    return Body(openapi_examples={"rename": {"summary": "Rename it", "value": {"name": "smol"}}})
