"""Sample files as the API shows them: what one holds, and what an edit made of it."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.dataset_views import DatasetView
from tunesmith.errors import Problem
from tunesmith.evaluation.results import Sample, Split, Text
from tunesmith.evaluation.samples import SampleSet


class SampleCheck(BaseModel):
    """What a sample file holds, before it is used."""

    model_config = ConfigDict(extra="ignore")
    name: str = Field(description="The file's name.")
    counts: dict[Split, int] = Field(description="Samples by splits, each counted once.")
    bad: int = Field(description="Entries that cannot be used: with one, the file is refused.")
    problems: list[Problem] = Field(description="Why, cause by cause, each with its first places.")
    notes: list[Text] = Field(description="What was passed over or deserves a look.")
    samples: list[Sample] = Field(description="The first ones.")
    more: int = Field(0, description="Samples that are not shown.")

    @classmethod
    def of(cls, found: SampleSet, first: int, split: Split | None = None) -> Self:
        """What a set holds, with its first samples.

        Args:
            found: The set.
            first: How many are shown.
            split: Show those of this split alone.
        """
        every = found.of(split) if split else list(found.samples)
        return cls(
            name=found.name,
            counts=found.counts,
            bad=found.bad,
            problems=list(found.problems),
            notes=list(found.notes),
            samples=every[:first],
            more=max(0, len(every) - first),
        )


class SamplesEdited(BaseModel):
    """What an edit of a data set's samples did."""

    model_config = ConfigDict(extra="ignore")
    dataset: DatasetView
    version: str = Field(description="`name@number` of what the samples are now.")
    counts: dict[Split, int] = Field(description="Samples by splits.")
    added: list[str] = Field(description="Ids of samples that were not there, or moved to another split.")
    removed: list[str] = Field(description="Ids of samples that were taken out.")
    missing: list[str] = Field(description="Ids that were to be removed, and are not there.")
