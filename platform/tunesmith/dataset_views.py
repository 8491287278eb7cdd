"""Data sets as the API shows them: the registry, a file's report, and rows under the microscope."""

import datetime as dt
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import Problem


class Part(BaseModel):
    """What one data set gave to a mix."""

    model_config = ConfigDict(extra="ignore")
    source: str = Field(description="`name@number`, or a path.")
    rows: int

    def __str__(self) -> str:
        """In words."""
        return f"{self.rows} rows of {self.source}"


class Lineage(BaseModel):
    """What a version was made of."""

    model_config = ConfigDict(extra="ignore")
    task_id: str | None = Field(
        None, description="The task that made it; none where ratings were put together."
    )
    operation: str
    parameters: dict[str, Any] = Field(description="As they were given, each data set with its version.")
    sources: list[str] = Field(
        default_factory=list,
        description="`name@number` of data sets; paths, URIs and Hub ids of others; conversations that were rated.",
    )
    parts: list[Part] = Field(
        default_factory=list, description="How many rows each source gave, where several were put together."
    )


class VersionView(BaseModel):
    """One version of a data set: a file whose bytes never change."""

    model_config = ConfigDict(extra="ignore")
    number: int
    sha256: str = Field(description="Of the file's bytes, as they were given.")
    bytes: int
    file_name: str
    format: str = Field(description="`jsonl`, `json`, `text`, `csv` or `parquet`.")
    packing: str | None = Field(None, description="`gzip` or `zstd`, where it is packed.")
    kind: str = Field(
        description="What its rows hold: `conversation`, `pair`, `text`, `labelled`, `preference` (a chosen and a "
        "rejected answer), `judged` (a column says which answers are good), or `unknown`."
    )
    columns: list[str] = Field(default_factory=list, description="The names in its first rows.")
    source: str = Field(description="`upload`, or the path or URI that was registered.")
    is_copied: bool = Field(
        description="Whether the platform keeps the bytes; else they stay where they are."
    )
    rows: int | None = Field(None, description="How many it has, where it was counted.")
    lineage: Lineage | None = Field(None, description="Of a version that an operation made.")
    created_at: dt.datetime


class DatasetView(BaseModel):
    """A data set. `train_file` takes its name, or `name@number` for a version that is not the newest."""

    model_config = ConfigDict(extra="ignore")
    id: str
    name: str
    latest: int = Field(description="Number of the newest version.")
    versions: list[VersionView] = Field(
        description="Newest first; in lists, the newest alone.",
    )
    created_at: dt.datetime
    updated_at: dt.datetime


class UploadView(BaseModel):
    """An upload on its way. It goes on at `offset`, whatever was lost."""

    model_config = ConfigDict(extra="ignore")
    id: str
    name: str
    file_name: str
    bytes: int
    offset: int = Field(description="Bytes that have arrived.")
    expires_at: dt.datetime = Field(description="When it is given up, unless more arrives.")


class BadRow(BaseModel):
    """A row that cannot be trained on."""

    place: str = Field(description="`train.jsonl:17` is line 17; `train.json:row 17` the 17th element.")
    message: str
    hint: str | None = None
    excerpt: str = Field("", description="How the row begins.")


class Count(BaseModel):
    """How often something is there."""

    name: str
    count: int


class Example(BaseModel):
    """A row that something is said of."""

    place: str = Field(description="`train.jsonl:17` is line 17; `train.json:row 17` the 17th element.")
    excerpt: str = Field("", description="How the row begins.")

    def in_words(self) -> str:
        """It in a line."""
        excerpt = self.excerpt[:60].replace("`", "'")
        return f"{self.place} (`{excerpt}`)" if excerpt else self.place


class Reason(Count):
    """Why rows are bad: one cause, told once."""

    message: str = Field("", description="What is wrong with the first of them.")
    hint: str | None = None
    examples: list[Example] = Field(default_factory=list, description="The first three such rows.")


class Finding(BaseModel):
    """What rows hold that is not trained, or not as it stands: said before a training, and by it."""

    code: str = Field(description="Stable name, for programs.")
    message: str
    hint: str | None = None
    count: int = Field(description="Rows that it is true of, among those that were looked at.")
    rows: int = Field(description="Rows that were looked at.")
    examples: list[Example] = Field(default_factory=list, description="The first three of them.")

    def in_words(self, *, with_hint: bool = False) -> str:
        """It with the places of its first rows, in a line."""
        shown = ", ".join(one.in_words() for one in self.examples)
        parts = (self.message, self.hint if with_hint else None, f"For example: {shown}" if shown else None)
        return " ".join(part for part in parts if part)


class Bin(BaseModel):
    """Rows of more than the bin before and at most `upto` tokens."""

    upto: int
    rows: int


class CutAt(BaseModel):
    """What a `max_length` would cut."""

    max_length: int
    share: float = Field(description="Share of the rows that are longer.")


class TokenReport(BaseModel):
    """Rows as the model reads them."""

    rows: int = Field(description="Rows that were encoded.")
    is_sample: bool = Field(description="Whether these are some of the rows, evenly taken.")
    max_length: int
    median: int
    p95: int
    longest: int
    histogram: list[Bin]
    cut_rows: int
    cut_at: list[CutAt]
    supervised_share: float = Field(description="Share of the tokens that are trained, after the cut.")
    unsupervised_rows: int = Field(description="Rows of which nothing is trained: they would be left out.")
    unsupervised_places: list[str] = Field(default_factory=list, description="The first of them.")


class Overlap(BaseModel):
    """Rows of the evaluation file that the training file holds too."""

    rows: int = Field(description="The same row, word for word.")
    questions: int = Field(description="The same question with another answer.")
    places: list[str] = Field(
        default_factory=list, description="The first of them, where they stand in the training file."
    )


class Verdict(StrEnum):
    """Whether a file may be trained on."""

    FINE = "fine"
    SKIPS = "skips"
    """With some rows left out, within what was allowed."""
    REFUSED = "refused"


class DataReport(BaseModel):
    """What a data file holds, and what is wrong with it."""

    model_config = ConfigDict(extra="ignore")
    file: str
    format: str
    packing: str | None = None
    bytes: int
    kind: str
    columns: list[str]
    meaning: dict[str, str] = Field(
        default_factory=dict, description="What each column becomes; one that is not here is not read."
    )
    written_as: list[str] = Field(
        default_factory=list,
        description="What the ways are called in which the file and its conversations are written: `ShareGPT`, "
        "`Gemini contents`, ...",
    )
    verdict: Verdict
    rows: int
    bad_rows: int
    allowed_bad_percent: float = 0.0
    bad: list[BadRow] = Field(default_factory=list, description="The first of the bad rows.")
    reasons: list[Reason] = Field(default_factory=list, description="Why rows are bad, the commonest first.")
    empty_texts: int = Field(0, description="Of the bad rows: those whose answer or text is empty.")
    duplicates: int = Field(0, description="Rows that hold the same as a row before them.")
    duplicate_places: list[str] = Field(default_factory=list, description="The first of them.")
    roles: list[Count] = Field(default_factory=list, description="Turns of each role.")
    turns: list[Count] = Field(default_factory=list, description="Rows with so many turns.")
    classes: list[Count] = Field(default_factory=list, description="Rows of each class.")
    scripts: list[Count] = Field(
        default_factory=list, description="Letters of each script, in the rows that were looked at for it."
    )
    tokens: TokenReport | None = Field(None, description="Null where no model was named.")
    evaluation: "DataReport | None" = None
    overlap: Overlap | None = Field(None, description="Null where no evaluation file was named.")
    is_complete: bool = Field(True, description="Whether every row was read in the time that was given.")
    findings: list[Finding] = Field(
        default_factory=list, description="What of the rows is not trained, or not as it stands."
    )
    notes: list[str] = Field(
        default_factory=list, description="What to know besides, the sentences of `findings` too."
    )


class TokenKind(StrEnum):
    """What becomes of a token."""

    TRAINED = "trained"
    CONTEXT = "context"
    """The model reads it; nothing is learned of it."""
    CUT = "cut"
    """Beyond `max_length`: it is never seen."""


class PreviewToken(BaseModel):
    """One token of a row."""

    id: int
    text: str = Field(description="Empty where only the next one completes a character.")
    kind: TokenKind
    special: bool = Field(False, description="A control token, not a piece of text.")


class RowPreview(BaseModel):
    """One row, as it is trained."""

    place: str
    problem: Problem | None = Field(None, description="Why it cannot be trained on.")
    text: str = Field("", description="What the chat template writes, or the text.")
    tokens: list[PreviewToken] = Field(default_factory=list)
    trained: int = 0
    context: int = 0
    cut: int = 0
    label: str | None = Field(None, description="Its class.")
    sha256: str | None = Field(
        None,
        description="Of `input_ids` and `labels`; a task's facts list the same for the first rows it trains on.",
    )


class DataPreview(BaseModel):
    """Rows under the microscope, encoded by the code that trains."""

    model_config = ConfigDict(extra="ignore")
    file: str
    format: str
    kind: str
    max_length: int
    template_sha256: str | None = Field(None, description="Of the chat template; null for texts.")
    meaning: dict[str, str] = Field(
        default_factory=dict, description="What each column becomes; one that is not here is not read."
    )
    findings: list[Finding] = Field(
        default_factory=list, description="As in a report, of the file's first rows."
    )
    rows: list[RowPreview]
