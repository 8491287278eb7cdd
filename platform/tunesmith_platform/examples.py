"""The examples that the API's description shows. A test holds each against its endpoint's model."""

import datetime as dt
from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.autopsy import AttemptFacts, Autopsy, WorkerLines
from tunesmith.curves import Axis, ComparedTask, Comparison, Curve, Curves, Mode, Score
from tunesmith.dataset_views import (
    BadRow,
    Count,
    DataPreview,
    DataReport,
    DatasetView,
    PreviewToken,
    RowPreview,
    TokenKind,
    UploadView,
    Verdict,
    VersionView,
)
from tunesmith.environment import CheckStatus, Environment, EnvironmentCheck, Words
from tunesmith.errors import Fault
from tunesmith.events import Metrics, ReportReceipt
from tunesmith.lifecycle import REASONS, Desired, Reason, State
from tunesmith.model_folder import LinearLayers, ModelFacts
from tunesmith.model_views import ModelState, ModelUse, ModelView
from tunesmith.notifications import AddedWebhook, DeliveryState, DeliveryView, NoticeEvent, WebhookView
from tunesmith.pipelines import PipelineView, StepView
from tunesmith.spec.pipeline import StepKind
from tunesmith.spec.task import Kind
from tunesmith.templates import TemplateView
from tunesmith.workspace import Changed, TaskLine

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
STEP_ROWS = views.StepRows(
    task_id=_ID, step=37, epoch=1, steps_per_epoch=25, file="/data/alpaca.jsonl", rows=[14, 55, 120, 198]
)
CHECKPOINT = CHECKPOINTS.data[0].model_copy(update={"is_pinned": True})
LOG_TEXT = "2026-11-21T09:30:00.000+00:00 info    worker-0  198 rows encoded.\n"
AUTOPSY = Autopsy(
    task_id=_ID,
    name=TASK.name,
    state=State.FAILED,
    reason=Reason.OUT_OF_MEMORY,
    cause=REASONS[Reason.OUT_OF_MEMORY].words,
    message="CUDA out of memory. Tried to allocate 2.00 GiB.",
    fault=Fault.USER,
    next_step=REASONS[Reason.OUT_OF_MEMORY].next_step,
    ended_at=_TIME,
    last_step=57,
    total_steps=150,
    last_checkpoint=CHECKPOINTS.data[0],
    steps_lost=7,
    attempts=[
        AttemptFacts(
            number=1, created_at=_TIME, ended_at=_TIME, outcome=State.FAILED, reason=Reason.OUT_OF_MEMORY
        )
    ],
    workers=[WorkerLines(source="worker-0", lines=LOGS.data)],
    memory=[views.MetricPoint(step=57, value=23.4e9, time=_TIME, attempt=1)],
    peak_memory_bytes=23.4e9,
)
EXPOSITION = (
    "# HELP tunesmith_tasks Tasks, by state.\n# TYPE tunesmith_tasks gauge\n"
    'tunesmith_tasks{state="running"} 1.0\n'
)
ADDED_WEBHOOK = AddedWebhook(
    id="hook-01k9xq7c2m5d8e4f9g",
    url="https://hooks.example.com/tunesmith",
    events=[NoticeEvent.FINISHED, NoticeEvent.FAILED],
    by="local",
    created_at=_TIME,
    secret="whsec_" + "9f2b" * 16,
)
WEBHOOKS = views.Page[WebhookView](
    data=[WebhookView.model_validate(ADDED_WEBHOOK.model_dump())], has_more=False
)
DELIVERY = DeliveryView(
    id=7,
    receiver=ADDED_WEBHOOK.id,
    event=NoticeEvent.FAILED,
    task_id=_ID,
    state=DeliveryState.DELIVERED,
    tries=1,
    status=200,
    payload={"event": "failed", "text": "Task ember has failed.", "task": {"id": _ID, "name": "ember"}},
    created_at=_TIME,
    ended_at=_TIME,
)
DELIVERIES = views.Page[DeliveryView](data=[DELIVERY], has_more=False)
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
WORKSPACE_STREAM = (
    'id: 5f3a-0\nevent: tasks\ndata: {"kind":"tasks","position":"5f3a-0","tasks":[]}\n\n'
    "id: 5f3a-1\nevent: task\ndata: "
    f"{Changed(position='5f3a-1', task=TaskLine.model_validate(TASK.model_dump())).model_dump_json()}\n\n"
)

_PIPELINE_YAML = """components:
  - {id: data, type: datasets, provider: local, data_files: ./train.jsonl}
  - {id: trainer, type: model-trainer, task: sft, dataset: "${input.dataset}", num_epochs: 1}
workflows:
  - id: tune
    jobs:
      - {id: load, component: data}
      - {id: train, component: trainer, input: {dataset: "${jobs.load.output}"}}
"""
PIPELINE = PipelineView(
    id="pipe-01k9xq7c2m5d8e4f9g",
    name="tune",
    project="default",
    workflow="tune",
    state=State.RUNNING,
    message="1 of 2 steps are done.",
    steps=[
        StepView(
            id="load",
            kind=StepKind.DATASET,
            component="data",
            method="load",
            needs=[],
            state=State.COMPLETED,
            parameters={"provider": "local", "data_files": "/data/train.jsonl"},
            output="/data/files/pipelines/data/pipe-01k9xq7c2m5d8e4f9g/0-1/data.jsonl",
            started_at=_TIME,
            ended_at=_TIME,
        ),
        StepView(
            id="train",
            kind=StepKind.TRAIN,
            component="trainer",
            method="train",
            needs=["load"],
            state=State.RUNNING,
            parameters={"model_name_or_path": "SmolLM2-135M-Instruct", "train_file": "${jobs.load.output}"},
            task_id=_ID,
            started_at=_TIME,
        ),
    ],
    created_at=_TIME,
)
PIPELINES = views.Page[PipelineView](data=[PIPELINE], has_more=False)


def new_pipeline_body() -> Any:
    """The body of a new pipeline."""
    value = {"yaml": _PIPELINE_YAML, "model": "SmolLM2-135M-Instruct", "folder": "/data"}
    return Body(openapi_examples={"tune": {"summary": "Load rows, then train", "value": value}})


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


_VERSION = VersionView(
    number=2,
    sha256="5f3a" * 16,
    bytes=1_048_576,
    file_name="support.jsonl",
    format="jsonl",
    kind="conversation",
    columns=["messages"],
    source="upload",
    is_copied=True,
    created_at=_TIME,
)
DATASET = DatasetView(
    id="dataset-01k9xq7c2m5d8e4f9g",
    name="support",
    latest=2,
    versions=[_VERSION],
    created_at=_TIME,
    updated_at=_TIME,
)
DATASETS = views.Page[DatasetView](data=[DATASET], has_more=False)
UPLOAD = UploadView(
    id="upload-01k9xq7c2m5d8e4f9g",
    name="support",
    file_name="support.jsonl",
    bytes=1_048_576,
    offset=524_288,
    expires_at=_TIME,
)
DATA_REPORT = DataReport(
    file="support.jsonl",
    format="jsonl",
    bytes=1_048_576,
    kind="conversation",
    columns=["messages"],
    verdict=Verdict.REFUSED,
    rows=1200,
    bad_rows=1,
    bad=[
        BadRow(
            place="support.jsonl:17",
            message="`messages[1].content` is empty: an answer needs text.",
            hint="Write the answer or remove the row.",
            excerpt="messages: role: user, content: Where is my order?, and 1 more",
        )
    ],
    reasons=[Count(name="`messages[N].content` is empty: an answer needs text.", count=1)],
    empty_texts=1,
    roles=[Count(name="user", count=1200), Count(name="assistant", count=1199)],
    turns=[Count(name="2", count=1199)],
    scripts=[Count(name="Latin", count=480_000)],
)
DATA_PREVIEW = DataPreview(
    file="support.jsonl",
    format="jsonl",
    kind="conversation",
    max_length=512,
    template_sha256="77ab" * 16,
    rows=[
        RowPreview(
            place="support.jsonl:1",
            text="<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
            tokens=[
                PreviewToken(id=1, text="<|im_start|>", kind=TokenKind.CONTEXT, special=True),
                PreviewToken(id=9707, text="Hello", kind=TokenKind.TRAINED),
            ],
            trained=2,
            context=8,
            sha256="1d0c" * 16,
        )
    ],
)


def new_dataset_body() -> Any:
    """The body of a registration."""
    return Body(
        openapi_examples={
            "path": {"summary": "A file", "value": {"source": "/data/support.jsonl", "name": "support"}},
            "uri": {"summary": "An object in a bucket", "value": {"source": "s3://data/support.parquet"}},
        }
    )


def new_upload_body() -> Any:
    """The body that begins an upload."""
    value = {"file_name": "support.jsonl", "bytes": 1_048_576, "name": "support"}
    return Body(openapi_examples={"file": {"summary": "A file of 1 MB", "value": value}})


def data_question_body() -> Any:
    """The body of a report."""
    return Body(
        openapi_examples={
            "file": {"summary": "A file alone", "value": {"file": "/data/support.jsonl"}},
            "tokens": {
                "summary": "With tokens, and held-out rows",
                "value": {
                    "file": "support@2",
                    "eval_file": "/data/held-out.jsonl",
                    "model": "SmolLM2-135M-Instruct",
                    "parameters": {"max_length": 1024},
                },
            },
        }
    )


def preview_question_body() -> Any:
    """The body of a preview."""
    value = {"file": "support", "model": "SmolLM2-135M-Instruct", "rows": [17]}
    return Body(openapi_examples={"row": {"summary": "One row", "value": value}})


def new_webhook_body() -> Any:
    """The body of a new webhook."""
    return Body(
        openapi_examples={
            "all": {"summary": "Everything", "value": {"url": "https://hooks.example.com/tunesmith"}},
            "failures": {
                "summary": "Failures of one project",
                "value": {"url": "https://hooks.example.com/t", "project": "default", "events": ["failed"]},
            },
        }
    )
