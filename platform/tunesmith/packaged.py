"""What is told of a package's files, in the events of jobs and in what the platform answers.

What we stored ourselves is read leniently. Knows figures and words; knows no file.
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from tunesmith.limits import MAX_COUNT


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore")


class FilePart(_Told):
    """A file of a package by its bytes."""

    name: str = Field(max_length=300)
    bytes: int = Field(ge=0, le=MAX_COUNT)
    sha256: str


class PackagedFile(_Told):
    """A GGUF file of a package, and what its proof found."""

    name: str
    type: str = Field(description="`Q4_K_M`, ...; `LoRA` for an adapter's.")
    bytes: int = Field(ge=0, le=MAX_COUNT, description="Of all its parts.")
    sha256: str = Field(description="Of the file; of the first, where it is split.")
    parts: list[FilePart] = Field(
        default_factory=list, max_length=1000, description="All its files, where a size split it."
    )
    verdict: Literal["proven", "not_proven", "failed"] = Field(
        description="A failed one is not the model: it is kept apart and not offered."
    )
    sentence: dict[str, str] = Field(default_factory=dict, description="What its proof says, by language.")
    kl_mean: FiniteFloat | None = Field(None, description="Mean difference of the next token, in nats (KL).")
    kl_p99: FiniteFloat | None = Field(None, description="99 of 100 tokens differ by less.")
    top1: FiniteFloat | None = Field(
        None, description="Share of tokens whose likeliest next token is the same."
    )
    key: str | None = Field(None, max_length=64, description="What tells its inputs.")
    taken_from: str | None = Field(
        None, description="The earlier package that the file is from: it was not made anew."
    )
    tokens_per_second: FiniteFloat | None = Field(None, description="Written in the proof, in one stream.")
    measured_on: str | None = Field(None, description="By so many threads of which processor.")
    fallbacks: dict[str, int] = Field(
        default_factory=dict,
        description="Matrices with another type than the file's rules want, by the two types.",
    )
    weights: str = Field(
        "",
        max_length=100,
        description="What tells the weights that it holds from all others; empty of an adapter's.",
    )
    source: str = Field(
        "", description="The folder or URI of these weights; of a merged adapter, the adapter's."
    )
    served_like: str = Field(
        "",
        max_length=100,
        description="The weights that chats answer with in just this form, so that the file's proof is theirs too: a "
        "whole model's in F16, an adapter's over such a base.",
    )

    @property
    def content(self) -> str:
        """What tells what it holds from all others: its sum; of several parts, that of all of theirs."""
        if not self.parts:
            return self.sha256
        return hashlib.sha256(" ".join(part.sha256 for part in self.parts).encode()).hexdigest()


class PackagedImportance(_Told):
    """The importance matrix that quantised files of a package were rounded by."""

    name: str = Field(description="Its file, which `llama-quantize --imatrix` reads.")
    bytes: int = Field(ge=0, le=MAX_COUNT)
    tokens: int = Field(ge=0, le=MAX_COUNT, description="It was computed over so many.")
    sources: list[str] = Field(default_factory=list, max_length=100, description="Of these rows.")
    was_kept: bool = Field(
        False, description="Whether it had been computed before, of the same model and tokens."
    )
