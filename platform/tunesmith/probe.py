"""What the control plane hands to a measuring job, and what the job leaves behind.

The document is written to storage beside the place of the result; only its URI goes to Ray.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PROGRAM = "tunesmith_jobs.probe"
"""The module that Ray runs."""
RESULT = "result.json"
"""The result's name in the document's own folder."""


class ProbeDocument(BaseModel):
    """Everything a measurement needs."""

    model_config = ConfigDict(extra="ignore")
    id: str
    spec: dict[str, Any]
    model_path: str
    train_path: str
    eval_path: str | None = None
    tokenizer_path: str | None = None
    work_dir: str = Field(description="Folder on the node for scratch; removed at the end.")
    limit_seconds: float = Field(gt=0, description="After so long it ends, measured or not.")


class ProbeResult(BaseModel):
    """What was measured; `error` says why nothing was."""

    model_config = ConfigDict(extra="ignore")
    error: str = ""
    peak_bytes: int = 0
    seconds_per_step: float = 0.0
    longest_step_seconds: float = 0.0
    start_seconds: float = 0.0
    longest_batch_tokens: int = Field(0, description="Tokens and padding of the longest batch.")
    checkpoint_bytes: int = 0
    steps: int = 0
    device: str = ""
    precision: str = ""
