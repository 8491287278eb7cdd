"""What the API says of evaluations. Knows views; knows no statistics."""

import datetime as dt
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.evaluation.results import Text
from tunesmith.evaluation.scores.info import ScoreInfo


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ScoreView(_View):
    """What a score is, as people read it. A custom scorer's and a benchmark's are not among them."""

    name: str
    label: Text
    about: Text
    low: float = Field(description="The least that it can be.")
    high: float | None = Field(None, description="The most that it can be; null where there is no end.")
    better: Literal["higher", "lower"] = "higher"

    @classmethod
    def of(cls, name: str, info: ScoreInfo) -> Self:
        """A score's view."""
        return cls(
            name=name,
            label=Text(en=info.en, zh=info.zh),
            about=info.about,
            low=info.low,
            high=info.high,
            better=info.better,
        )


class CandidateProgress(_View):
    """How far a candidate is, and how it does so far."""

    candidate: str = Field(description="Its key: `base`, `TASK/checkpoint-40`.")
    label: str
    step: int = 0
    answered: int = 0
    total: int = 0
    cached: int = Field(0, description="Answers that were known already.")
    means: dict[str, float] = Field(
        default_factory=dict, description="Mean of each score; empty until it is scored."
    )


class EvaluationView(_View):
    """An evaluation: a live table while it runs, and what it found."""

    task_id: str
    name: str
    state: str
    candidates: list[CandidateProgress] = Field(default_factory=list)
    recommended: str | None = Field(None, description="The key of the candidate that is recommended.")
    sentence: dict[str, str] = Field(
        default_factory=dict, description="What may be said of the differences, by language (`en`, `zh`)."
    )
    comparable_by: str | None = Field(
        None, description="Scores of evaluations with the same value may be held against each other."
    )
    is_partial: bool = Field(False, description="Whether it was stopped before every candidate was scored.")
    uri: str | None = Field(None, description="The folder with the result, the tables and the reports.")
    created_at: dt.datetime | None = Field(None, description="When it was complete.")


class EvaluationForecast(_View):
    """What an evaluation will take. Answers that are known from before cost nothing: it may be less."""

    candidates: list[str] = Field(description="What each is called; the base among them.")
    samples: int = Field(description="How many each is asked.")
    repeats: int = Field(description="How often each sample is asked.")
    generations: int = Field(description="Answers in all.")
    most_new_tokens: int = Field(description="Tokens that are generated at the most.")
    seconds: float = Field(description="Of the answers, from their first to their last.")
    source: str = Field(description="What the speed was taken from, in words.")
    measured_at: dt.datetime | None = Field(
        None, description="When that speed was measured; null where it was not."
    )
    judgements: int = Field(0, description="Answers that a judge rates, each in both orders.")
    judge_seconds: float | None = Field(
        None,
        description="Of the judge, after the answers; null where none is asked or its speed is not known.",
    )
    judge_source: str = Field("", description="What its speed was taken from, in words.")
    device: str = Field(description="`cpu` or `gpu`.")
    memory_bytes: int = Field(description="Memory of one worker at its peak.")
    there_is_bytes: int | None = Field(
        None, description="Memory that a worker may fill; null where the cluster does not say."
    )
    fits: bool | None = Field(None, description="Null where the memory that there is is not known.")


class EvaluationSummary(_View):
    """One of several evaluations."""

    task_id: str
    recommended: str | None = None
    sentence: dict[str, str] = Field(default_factory=dict)
    comparable_by: str
    is_partial: bool = False
    means: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="Mean of each score by candidates."
    )
    created_at: dt.datetime


class Recompute(BaseModel):
    """How an evaluation's figures are to be computed once more, of the answers that are there."""

    model_config = ConfigDict(extra="forbid")
    weights: dict[str, float] | None = Field(
        None,
        min_length=1,
        max_length=50,
        description="Of the scores in the composite; as they were when empty.",
    )
    score: str = Field("composite", max_length=100, description="What is compared.")
