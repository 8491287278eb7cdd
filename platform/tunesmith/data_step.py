"""What the control plane hands to a job that works on data, and where the rows that it keeps lie.

The document is written to storage; only its URI goes to Ray. No secret is in it: what it needs of the environment it
names, and the job reads it where it runs.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.job import AttemptDocument

FOLDER = "datasets"
"""Where the files of data sets lie in storage."""


class DataDocument(AttemptDocument):
    """Everything an operation on data needs. Paths are resolved."""

    operation: str
    parameters: dict[str, Any]
    environment: list[str] = Field(
        default_factory=list, description="Variables of the environment that the parameters may name."
    )
    rows_dir: str = Field(description="Folder for the rows; it appears whole, or not at all.")
    store_uri: str | None = Field(
        None, description="The storage that keeps the rows by their content; None leaves them in `rows_dir`."
    )
    file_name: str = Field("rows", description="What a file that is kept is called, without its ending.")


class DataOutput(BaseModel):
    """One file of rows."""

    model_config = ConfigDict(extra="ignore")
    path: str
    rows: int
    columns: list[str] = Field(default_factory=list, description="Every column that some row has.")
    bytes: int = 0
    sha256: str = ""
    parts: list[int] = Field(
        default_factory=list,
        description="Rows that each data set gave, in their order, where several were mixed.",
    )


def place_of(sha256: str, file_name: str) -> str:
    """The folder, below `FOLDER`, of a file with these bytes."""
    # The same bytes under another name may be read in another way (`.txt`, `.csv`).
    return f"{sha256}-{file_name}"
