"""What the control plane hands to a job that works on data, and what the job leaves behind.

The document is written to storage beside the place of the result; only its URI goes to Ray. No secret is in it: what
it needs of the environment it names, and the job reads it where it runs.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PROGRAM = "tunesmith_jobs.data.entry"
"""The module that Ray runs."""
RESULT = "result.json"
"""The result's name in the document's own folder."""


class DataDocument(BaseModel):
    """Everything an operation on data needs. Paths are resolved."""

    model_config = ConfigDict(extra="ignore")
    id: str
    method: str
    parameters: dict[str, Any]
    environment: list[str] = Field(
        default_factory=list, description="Variables of the environment that the parameters may name."
    )
    output_dir: str = Field(description="Folder for the rows; it appears whole, or not at all.")


class DataOutput(BaseModel):
    """One file of rows."""

    model_config = ConfigDict(extra="ignore")
    path: str
    rows: int
    columns: list[str] = Field(default_factory=list, description="Every column that some row has.")
    bytes: int = 0
    sha256: str = ""


class DataResult(BaseModel):
    """What came of it: outputs by their name (`data`, or `train`, `eval` and `test`), or why nothing did."""

    model_config = ConfigDict(extra="ignore")
    outputs: dict[str, DataOutput] = Field(default_factory=dict)
    error: str = ""
    hint: str | None = None
    seconds: float = 0.0
