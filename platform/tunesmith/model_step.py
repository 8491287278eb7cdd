"""What the control plane hands to a job that uses a model: to evaluate it, to let it answer, to package it.

The document is written to storage; only its URI goes to Ray. Everything in it is resolved: the job asks nobody.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.job import AttemptDocument

METRIC_PREFIX = "eval_"
"""What the names of an evaluation's measurements begin with in charts, and not in what it hands on."""


class ModelOrigin(BaseModel):
    """Where a model comes from, for the card of a package."""

    model_config = ConfigDict(extra="ignore")
    base: str = Field("", description="The base model as it was named.")
    license: str | None = Field(None, description="What the base's files name as their license.")
    task_id: str | None = None
    task_name: str | None = None
    datasets: list[str] = Field(
        default_factory=list, description="What it was trained on: names, or files' names."
    )


class MadeBefore(BaseModel):
    """A proven file of an earlier package of its user's, which another one of the same inputs may take."""

    model_config = ConfigDict(extra="ignore")
    key: str = Field(description="What tells its inputs.")
    task_id: str
    uri: str = Field(description="The package's folder.")
    name: str
    sha256: str


class ModelDocument(AttemptDocument):
    """Everything an attempt to use a model needs. Paths are resolved."""

    model_uri: str = Field(description="The weights: a whole model's folder, or an adapter's.")
    step: int = Field(
        0, ge=0, description="The training step that the weights are of; 0 where it is not known."
    )
    training: dict[str, Any] = Field(
        description="The parameters of a training that loads this model and encodes these rows (`TrainSpec`)."
    )
    encoder_path: str = Field(description="The folder whose tokenizer and chat template write the rows.")
    tokenizer_path: str | None = Field(None, description="Another folder whose tokenizer is used instead.")
    classes: list[str] = Field(default_factory=list, description="Names of the classes in their order.")
    data_path: str | None = None
    rows_dir: str | None = Field(
        None, description="Folder for rows that are made; it appears whole, or not at all."
    )
    artifact_uri: str | None = Field(None, description="Where a packaged model goes.")
    output_dir: str | None = None
    made_before: list[MadeBefore] = Field(
        default_factory=list, description="Of a packaging: the newest first."
    )
    converter: list[str] = Field(
        default_factory=list,
        description="Of a packaging: what starts llama.cpp's converter, for a model that is not written here; empty: "
        "none is to be started.",
    )
    use_gpu: bool = Field(True, description="Whether a GPU is of use, where the cluster has one.")
    origin: ModelOrigin = Field(default_factory=ModelOrigin)
