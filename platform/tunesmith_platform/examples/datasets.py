"""Data sets, operations on them, and what is told of their rows."""

from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.dataset_views import (
    BadRow,
    Count,
    DataPreview,
    DataReport,
    DatasetView,
    Example,
    Finding,
    PreviewToken,
    Reason,
    RowPreview,
    TokenKind,
    UploadView,
    Verdict,
    VersionView,
)
from tunesmith.spec.dataset import DATASET as DATA_WORK
from tunesmith_platform.examples.common import TIME
from tunesmith_platform.examples.tasks import TASK


def new_data_task_body() -> Any:
    """The body of an operation on data."""
    keep = {
        "operation": "filter",
        "parameters": {"dataset": "support", "condition": "len(response) > 10"},
        "into": "support-long",
    }
    load = {
        "operation": "load",
        "parameters": {"path": "tatsu-lab/alpaca", "split": "train[:10%]", "token": "${env.HF_TOKEN}"},
        "into": "alpaca",
    }
    return Body(
        openapi_examples={
            "filter": {"summary": "Keep some rows", "value": keep},
            "load": {"summary": "Load from the Hub", "value": load},
        }
    )


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
    created_at=TIME,
)
DATASET = DatasetView(
    id="dataset-01k9xq7c2m5d8e4f9g",
    name="support",
    latest=2,
    versions=[_VERSION],
    created_at=TIME,
    updated_at=TIME,
)
DATA_TASK = TASK.model_copy(
    update={
        "kind": DATA_WORK.name,
        "name": "filter_20261121_093000",
        "tags": [],
        "message": "Working on the rows.",
        "progress": views.ProgressView(step=60_000, total_steps=120_000, percent=50.0, seconds_left=4.0),
        "spec": {
            "operation": "filter",
            "dataset": "support@2",
            "condition": "len(response) > 10",
            "into": "support-filter",
        },
        "artifact_uri": None,
    }
)
DATASETS = views.Page[DatasetView](data=[DATASET], has_more=False)
UPLOAD = UploadView(
    id="upload-01k9xq7c2m5d8e4f9g",
    name="support",
    file_name="support.jsonl",
    bytes=1_048_576,
    offset=524_288,
    expires_at=TIME,
)
UPLOADS = views.Page[UploadView](data=[UPLOAD], has_more=False)
_UNREAD = Finding(
    code="columns_not_read",
    message="Columns that nobody reads, with the share of rows that fill them: `source` (100 %).",
    hint="Nothing is to be done where they are not to be learned.",
    count=1199,
    rows=1199,
)
DATA_REPORT = DataReport(
    file="support.jsonl",
    format="jsonl",
    bytes=1_048_576,
    kind="conversation",
    columns=["messages", "source"],
    meaning={"messages": "turns"},
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
    reasons=[
        Reason(
            name="`messages[N].content` is empty: an answer needs text.",
            count=1,
            message="`messages[1].content` is empty: an answer needs text.",
            hint="Write the answer or remove the row.",
            examples=[
                Example(
                    place="support.jsonl:17",
                    excerpt="messages: role: user, content: Where is my order?, and 1 more",
                )
            ],
        )
    ],
    empty_texts=1,
    roles=[Count(name="user", count=1200), Count(name="assistant", count=1199)],
    turns=[Count(name="2", count=1199)],
    scripts=[Count(name="Latin", count=480_000)],
    findings=[_UNREAD],
)
DATA_PREVIEW = DataPreview(
    file="support.jsonl",
    format="jsonl",
    kind="conversation",
    max_length=512,
    template_sha256="77ab" * 16,
    meaning={"messages": "turns"},
    findings=[_UNREAD],
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
