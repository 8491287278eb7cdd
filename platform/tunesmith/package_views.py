"""What the API says of packages. Knows views; knows no files."""

import datetime as dt
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class FilePartView(_View):
    """A file by its bytes."""

    name: str
    bytes: int
    sha256: str


class PackagedFileView(_View):
    """A GGUF file, and what its proof found."""

    name: str = Field(description="Of the file that llama.cpp opens: the first, where it is split.")
    type: str = Field(description="`Q4_K_M`, ...; `LoRA` for an adapter's.")
    bytes: int = Field(description="Of all its parts.")
    sha256: str = Field(description="Of the file; of the first, where it is split.")
    parts: list[FilePartView] = Field(
        default_factory=list, description="All its files, where a size split it."
    )
    verdict: Literal["proven", "not_proven", "failed"] = Field(
        description="A failed one is not the model: it is kept apart and not offered."
    )
    sentence: dict[str, str] = Field(
        default_factory=dict, description="What its proof says, by language (`en`, `zh`)."
    )
    kl_mean: float | None = Field(None, description="Mean difference of the next token, in nats (KL).")
    kl_p99: float | None = Field(None, description="99 of 100 tokens differ by less.")
    top1: float | None = Field(None, description="Share of tokens whose likeliest next token is the same.")
    key: str | None = Field(None, description="What tells its inputs.")
    taken_from: str | None = Field(
        None, description="The earlier package that the file is from: it was not made anew."
    )
    tokens_per_second: float | None = Field(None, description="Written in the proof, in one stream.")
    measured_on: str | None = Field(None, description="By so many threads of which processor.")
    fallbacks: dict[str, int] = Field(
        default_factory=dict,
        description="Matrices with another type than the file's rules want, by the two types: rows of another width.",
    )


class ImportanceView(_View):
    """The importance matrix that quantised files were rounded by."""

    name: str = Field(description="Its file, which `llama-quantize --imatrix` reads.")
    bytes: int
    tokens: int = Field(description="It was computed over so many.")
    sources: list[str] = Field(default_factory=list, description="Of these rows.")
    was_kept: bool = Field(
        False, description="Whether it had been computed before, of the same model and tokens."
    )


class PackageView(_View):
    """GGUF files that a task made."""

    task_id: str
    name: str
    uri: str = Field(description="The folder with the files, their proofs, a card and a manifest.")
    step: int = Field(description="Of the checkpoint; 0 where it is not known.")
    files: list[PackagedFileView]
    others: list[FilePartView] = Field(
        default_factory=list, description="The card, proofs, Modelfiles, the adapter's zip."
    )
    importance: ImportanceView | None = None
    created_at: dt.datetime

    def offered(self) -> dict[str, FilePartView]:
        """Every file that is handed out, by its name."""
        found = [FilePartView(name=one.name, bytes=one.bytes, sha256=one.sha256) for one in self.files
                 if not one.parts and one.verdict != "failed"]  # fmt: skip
        parts = [part for one in self.files if one.verdict != "failed" for part in one.parts]
        return {one.name: one for one in (*found, *parts, *self.others)}


class WhichRow(_View):
    """A file of a model, or what one of another type would take."""

    type: str
    bytes: int = Field(description="The file's; about, where none was made.")
    file: str | None = Field(None, description="Null where none was made of this type.")
    task_id: str | None = Field(None, description="The package that has it.")
    memory_bytes: int | None = Field(None, description="What llama.cpp takes to run it, about.")
    fits: bool | None = Field(None, description="Whether that is within the limit; null without one.")
    is_proven: bool = False
    kl_mean: float | None = None
    top1: float | None = None
    tokens_per_second: float | None = Field(None, description="Written in its proof, in one stream.")
    measured_on: str | None = None


class WhichView(_View):
    """A model's files beside each other, and one of them that is recommended."""

    context: int = Field(description="Tokens that the memory is told for.")
    limit_bytes: int | None = None
    recommended: str | None = Field(None, description="The file's name.")
    sentence: dict[str, str] = Field(description="Why, or why none is, by language.")
    rows: list[WhichRow] = Field(description="The largest first.")


class PackageSummary(_View):
    """A package: what it takes, and whether it stays."""

    task_id: str
    name: str
    project: str
    of: str = Field("", description="What it is of: the training's name, or the model's as it was named.")
    of_task_id: str | None = Field(description="The training; null of a model that no task here trained.")
    step: int
    uri: str
    bytes: int
    files: int
    is_pinned: bool = Field(description="Whether it stays whatever its age.")
    removed_at: dt.datetime | None = Field(None, description="When its files were removed.")
    created_at: dt.datetime


class PruneVerdict(_View):
    """What becomes of a package, and why."""

    task_id: str
    name: str
    bytes: int
    goes: bool
    why: str


class PruneView(_View):
    """What a removal of old packages took, or would take."""

    is_dry: bool = Field(description="Whether nothing was removed.")
    bytes: int = Field(description="Of those that go.")
    packages: list[PruneVerdict]


class PackageLinkView(_View):
    """An address that hands one file to whoever has it, until it runs out."""

    url: str = Field(description="Whoever has it gets the file: hand it on with care.")
    name: str
    bytes: int
    sha256: str
    expires_at: dt.datetime
