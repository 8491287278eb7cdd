"""What an evaluation asks, hears and finds: one shape for the job, the database, the API and the reports.

Everything is told by content: a sample by what it asks and expects, a candidate by its weights, a set of results by
`comparable_by`. Two figures may be held against each other only where that agrees. Knows nothing of how any is made.
"""

import math
import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Split = Literal["train", "validation"]
RESULT_FILE = "result.json"
"""The whole of an evaluation, in its folder in the storage."""
METRIC_PREFIX = "evaluation/"
"""What the names of means begin with in charts and in MLflow."""
_NOT_IN_A_NAME = re.compile(r"[^\w./-]", re.ASCII)
BENCHMARK_PREFIX = "benchmark/"
"""What the names of benchmarks' figures begin with beside the means of scores."""
COMPOSITE = "composite"
"""The name of the weighted mean of scores."""


class _Result(BaseModel):
    """What a newer version added is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Turn(_Result):
    """A turn of a conversation that is asked."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sample(_Result):
    """A question, and the answer that is expected."""

    id: str = Field(
        description="16 hexadecimal digits of the SHA-256 of all that follows but split, row and name."
    )
    split: Split = "validation"
    row: int = Field(0, ge=0, description="Its number in its file and split, from 1.")
    turns: tuple[Turn, ...] = Field(description="What is asked; the last turn is the user's.")
    reference: str = Field(description="The answer that is expected.")
    keywords: tuple[str, ...] | None = Field(
        None, description="What the answer must name; taken from the reference where None."
    )
    checks: tuple[str, ...] = Field(
        (), description="Names of instruction checks and custom scorers for it alone."
    )
    label: str | None = Field(None, description="The class that is expected, where answers are classes.")
    name: str | None = Field(None, description="What its file calls it (`id` there); tells nothing of it.")


class Answer(_Result):
    """What a candidate answered to a sample, and how that scores."""

    sample_id: str
    repeat: int = Field(0, ge=0, description="Which of several answers to the same question, from 0.")
    text: str
    tokens: int = Field(
        ge=0, description="Tokens that were generated, the one that ends the answer among them."
    )
    finish_reason: Literal["stop", "length"]
    nll: float | None = Field(
        None,
        description="Summed negative log-likelihood of the reference answer, in nats; None: not measured.",
    )
    reference_tokens: int = Field(0, ge=0, description="Tokens over which `nll` is summed.")
    scores: dict[str, float] = Field(default_factory=dict)
    skipped: dict[str, str] = Field(
        default_factory=dict, description="Scores that it has not, each with the reason."
    )


class Candidate(_Result):
    """A model that is evaluated: a checkpoint, a final model, or the base."""

    key: str = Field(description="Tells it within the evaluation: `base`, `TASK/checkpoint-40`.")
    label: str = Field(description="What people read.")
    task_id: str | None = None
    step: int = Field(0, ge=0)
    uri: str = ""
    is_base: bool = False
    sha256: str = Field("", description="Of its weights and all else that decides its answers.")


class BenchmarkScore(_Result):
    """A figure of a benchmark that a candidate took, as lm-eval reports it. No paired test is made of it."""

    benchmark: str = Field(description="Its name; of a group's part, the part's.")
    version: str = Field("", description="lm-eval's version of the benchmark.")
    metric: str
    filter: str = Field("none", description="How answers were read before they were measured.")
    value: float
    error: float | None = Field(None, ge=0, description="Standard error; None: lm-eval gives none.")
    higher_is_better: bool | None = None
    shots: int = Field(0, ge=0, description="Solved examples before each question.")
    samples: int | None = Field(None, ge=0, description="So many were asked.")
    limit: int | None = Field(None, ge=1, description="At most so many; None: all that there are.")

    @property
    def name(self) -> str:
        """What it is called beside other scores, in letters that MLflow takes: `maj@8` is refused there."""
        read = "" if self.filter == "none" else f"/{self.filter}"
        return _NOT_IN_A_NAME.sub("_", f"{BENCHMARK_PREFIX}{self.benchmark}/{self.metric}{read}")


class CandidateResult(_Result):
    """All that was found of one candidate."""

    candidate: Candidate
    answers: tuple[Answer, ...] = ()
    seen: tuple[str, ...] = Field((), description="Ids of the samples that its training rows hold.")
    means: dict[str, float] = Field(default_factory=dict, description="Mean of each score over its samples.")
    band: Literal["excellent", "good", "average", "poor"] | None = None
    seconds: float = Field(0, ge=0, description="What its generation took.")
    benchmarks: tuple[BenchmarkScore, ...] = Field((), description="Of the benchmarks that it took.")
    macro_f1: float | None = Field(
        None, ge=0, le=1, description="Of a classifier: the mean of the classes' F1 over all samples."
    )

    @property
    def figures(self) -> dict[str, float]:
        """The means, the macro F1, and what it has of benchmarks, by names."""
        own = {} if self.macro_f1 is None else {"macro_f1": self.macro_f1}
        return self.means | own | {one.name: one.value for one in self.benchmarks}


class Pair(_Result):
    """Two candidates on the same samples: `candidate` minus `against`, of one score."""

    candidate: str
    against: str
    samples: int = Field(ge=0)
    difference: float = Field(
        description="Mean of the differences; above 0: the candidate is better. So of a score of which less is better, "
        "as perplexity, it is `against` minus `candidate`."
    )
    low: float = Field(description="Lower end of the 95 % bootstrap interval.")
    high: float
    p_value: float = Field(ge=0, le=1)
    p_adjusted: float = Field(ge=0, le=1, description="By Holm, over all pairs that could have been asked.")
    verdict: Literal["better", "worse", "no_difference_found", "equal"]


class Text(_Result):
    """A sentence in both languages."""

    en: str
    zh: str


class Estimate(_Result):
    """A candidate's mean over the samples that were compared."""

    mean: float
    low: float = Field(description="Lower end of the 95 % bootstrap interval.")
    high: float
    repeat_spread: float | None = Field(
        None,
        description="Standard deviation between answers to the same question; None: each was asked once.",
    )


class Comparison(_Result):
    """What may be said of the differences between candidates."""

    score: str = COMPOSITE
    split: Split = "validation"
    samples: int = Field(
        0, ge=0, description="Samples that were compared: those that no candidate was trained on."
    )
    seen: int = Field(0, ge=0, description="Samples left out since a candidate was trained on them.")
    lacking: int = Field(0, ge=0, description="Samples left out since a candidate has no such score of them.")
    estimates: dict[str, Estimate] = Field(
        default_factory=dict, description="By the keys of those candidates that have the score."
    )
    pairs: tuple[Pair, ...] = ()
    smallest_difference: float | None = Field(
        None,
        description="The smallest difference that so many samples find 4 times in 5, at a level of 5 % over all pairs.",
    )
    recommended: str | None = Field(
        None, description="The key of a candidate; None where nothing is recommended."
    )
    sentence: Text | None = None


class EvaluationResult(_Result):
    """An evaluation, whole."""

    format: Literal[1] = 1
    task_id: str = ""
    name: str = ""
    samples: tuple[Sample, ...] = ()
    settings: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict,
        description="How answers were made: temperature, max_new_tokens, seed, template...",
    )
    weights: dict[str, float] = Field(default_factory=dict, description="Of the scores in the composite.")
    scorers: str = Field("", description="The version of the scorers, and of the embedder.")
    sorts: bool = Field(False, description="Whether candidates sort texts into classes, and answer nothing.")
    benchmarked_by: str = Field("", description="The version of lm-eval; empty where no benchmark was taken.")
    comparable_by: str = Field(
        "",
        description="SHA-256 of samples, template, settings and scorers: other results with it are comparable.",
    )
    batch_disagreement: float | None = Field(
        None,
        description="Share of answers that are another text at batch 1, which bf16 may do; None: not measured.",
    )
    candidates: tuple[CandidateResult, ...] = ()
    comparison: Comparison | None = None
    warnings: tuple[Text, ...] = ()

    def of(self, key: str) -> CandidateResult:
        """A candidate's results.

        Raises:
            KeyError: It has none of that key.
        """
        for one in self.candidates:
            if one.candidate.key == key:
                return one
        raise KeyError(key)


def by_sample(result: CandidateResult, score: str) -> Mapping[str, float]:
    """A score by samples: the mean over repeats of those answers that have it; what is no finite number is none."""
    found: dict[str, float] = {}
    repeated: dict[str, list[float]] = {}
    for answer in result.answers:
        value = answer.scores.get(score)
        if value is None or not math.isfinite(value):
            continue
        if answer.sample_id in found:
            repeated.setdefault(answer.sample_id, [found[answer.sample_id]]).append(value)
        else:
            found[answer.sample_id] = value
    return found | {sample: sum(values) / len(values) for sample, values in repeated.items()}
