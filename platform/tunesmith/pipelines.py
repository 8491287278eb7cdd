"""Pipelines as the API takes and shows them. Knows views; the YAML itself is `tunesmith.spec.pipeline`'s."""

import datetime as dt
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.data_step import DataOutput
from tunesmith.lifecycle import State
from tunesmith.spec.base import Notice
from tunesmith.spec.given import Given
from tunesmith.spec.pipeline_file import MAX_YAML_CHARACTERS
from tunesmith.spec.task import Name


class NewPipeline(Given):
    """What is sent to run a pipeline."""

    yaml: str = Field(max_length=MAX_YAML_CHARACTERS, description="The components and workflows.")
    name: Name | None = Field(None, description="Shown name; the workflow's id when none is given.")
    project: Name | None = Field(
        None,
        description="The project of the tasks that it makes; `default`, or where your key works, when left out.",
    )
    workflow: str | None = Field(
        None, max_length=120, description="Which workflow to run; may be left out where there is only one."
    )
    input: dict[str, Any] = Field(default_factory=dict, description="The run's `${input.…}`.")
    overrides: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Parameters over those of components, by the component's id."
    )
    model: Name | str | None = Field(
        None, max_length=1000, description="The base model of trainers that name none."
    )
    folder: str | None = Field(
        None, max_length=4096, description="What relative paths are relative to, as the server sees it."
    )
    reuse: bool = Field(True, description="Whether the result of an identical earlier step is taken instead.")


class StepView(BaseModel):
    """A step of a pipeline as it stands."""

    model_config = ConfigDict(extra="ignore")
    id: str
    kind: str = Field(description="The kind of its task.")
    component: str
    method: str
    needs: list[str]
    state: State
    message: str = ""
    parameters: dict[str, Any] = Field(
        description="What it is to do; variables of earlier steps still stand."
    )
    outputs: dict[str, DataOutput] = Field(default_factory=dict, description="Files of rows that it made.")
    output: Any = Field(None, description="What it hands on to later steps.")
    task_id: str | None = Field(None, description="The task that carries it out.")
    is_reused: bool = Field(False, description="Whether an identical earlier step was taken instead.")
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None


class PipelineView(BaseModel):
    """A pipeline as it stands."""

    model_config = ConfigDict(extra="ignore")
    id: str
    name: str
    project: str
    workflow: str
    state: State
    message: str = ""
    notices: list[Notice] = Field(
        default_factory=list, description="What of the file was written as it was called before."
    )
    steps: list[StepView]
    created_at: dt.datetime
    ended_at: dt.datetime | None = None
