"""Pipelines."""

from typing import Any

from fastapi import Body

from tunesmith import views
from tunesmith.lifecycle import State
from tunesmith.pipelines import PipelineView, StepView
from tunesmith.spec.dataset import DATASET
from tunesmith.spec.training import TRAIN
from tunesmith_platform.examples.common import TASK_ID, TIME

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
            kind=DATASET.name,
            component="data",
            method="load",
            needs=[],
            state=State.COMPLETED,
            parameters={"provider": "local", "data_files": "/data/train.jsonl"},
            output="/data/files/pipelines/data/pipe-01k9xq7c2m5d8e4f9g/0-1/data.jsonl",
            started_at=TIME,
            ended_at=TIME,
        ),
        StepView(
            id="train",
            kind=TRAIN.name,
            component="trainer",
            method="train",
            needs=["load"],
            state=State.RUNNING,
            parameters={"model_name_or_path": "SmolLM2-135M-Instruct", "train_file": "${jobs.load.output}"},
            task_id=TASK_ID,
            started_at=TIME,
        ),
    ],
    created_at=TIME,
)
PIPELINES = views.Page[PipelineView](data=[PIPELINE], has_more=False)


def new_pipeline_body() -> Any:
    """The body of a new pipeline."""
    value = {"yaml": _PIPELINE_YAML, "model": "SmolLM2-135M-Instruct", "folder": "/data"}
    return Body(openapi_examples={"tune": {"summary": "Load rows, then train", "value": value}})
