"""Whether a candidate may be released in the place of another: a verdict with an exit code, for CI.

The question is of non-inferiority: is its loss at most the margin? Knows scores and statistics, no command line.
"""

import math
from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import InvalidInput, NotFound
from tunesmith.evaluation import statistics
from tunesmith.evaluation.comparison import scores_of
from tunesmith.evaluation.results import COMPOSITE, CandidateResult, Text
from tunesmith.evaluation.sentences import number, range_of

Verdict = Literal["pass", "loss", "cannot_tell"]
EXIT_CODES: dict[Verdict, Literal[0, 1, 2]] = {"pass": 0, "loss": 1, "cannot_tell": 2}
MARGIN = 0.02


class GateResult(BaseModel):
    """What a release gate answers."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    candidate: str
    against: str
    score: str
    margin: float = Field(description="The loss that is put up with.")
    verdict: Verdict
    exit_code: Literal[0, 1, 2] = Field(description="0: pass; 1: a loss; 2: cannot tell.")
    samples: int = Field(ge=0, description="Samples that both have the score of, and neither was trained on.")
    difference: float | None = Field(
        None, description="Mean difference; above 0: the candidate is better. None: fewer than two samples."
    )
    low: float | None = Field(None, description="Lower end of the 95 % bootstrap interval.")
    high: float | None = None
    samples_needed: int | None = Field(
        None,
        description="How many samples would tell, 4 times in 5, if the difference stays as it is; None: it is told "
        "already, or no number would do.",
    )
    sentence: Text = Text(en="", zh="")


def gate(
    results: Sequence[CandidateResult],
    candidate: str,
    against: str,
    margin: float = MARGIN,
    score: str = COMPOSITE,
    *,
    split: Collection[str],
    seed: int = 0,
) -> GateResult:
    """Say whether a candidate may take another's place, by the 95 % interval of their paired difference.

    `pass` where the interval lies above -margin as a whole: it excludes a larger loss, though not a small one. `loss`
    where it lies below -margin as a whole: the loss is larger than what is put up with, and more samples would not
    change that. Everything between is `cannot_tell`, an interval below 0 that reaches into the margin too: there a
    loss is shown, but it may be one that is put up with, and more samples would tell. So the first two answer one
    question with yes and no, and a gate that blocks on anything but 0 never lets an unproven candidate through. At each
    end the interval errs 2.5 times in 100, the usual level for non-inferiority (ICH E9, 1998).

    Args:
        results: The candidates of an evaluation.
        candidate: The key of the one that is to be released.
        against: The key of the one whose place it takes.
        margin: The loss that is put up with, in units of the score; not below 0.
        score: Which score decides.
        split: Ids of the samples to use; those in the training rows of one of the two are left out.
        seed: Of the draws.

    Raises:
        NotFound: There is no candidate of that key.
        InvalidInput: The two are one, or the margin is below 0 or no number.
    """
    if not math.isfinite(margin) or margin < 0:
        raise InvalidInput(
            f"A margin of {margin} is none: it is the loss that is put up with.",
            hint="Give a number from 0, as 0.02.",
            field="margin",
        )
    if candidate == against:
        raise InvalidInput(
            f"`{candidate}` is held against itself.",
            hint="Name another checkpoint, or the base.",
            field="against",
        )
    both = [_of(results, key, field) for key, field in ((candidate, "candidate"), (against, "against"))]
    scores = scores_of(both, score, split)
    count = len(scores.samples) if len(scores.values) == 2 else 0
    found: statistics.Interval | None = None
    verdict: Verdict = "cannot_tell"
    needed: int | None = statistics.FEWEST
    if count >= 2:
        differences = scores.differences(candidate, against)
        found = statistics.interval(differences, seed=seed)
        if count >= statistics.FEWEST:
            verdict = "pass" if found.low >= -margin else "loss" if found.high < -margin else "cannot_tell"
        needed = statistics.samples_needed(statistics.spread(differences), found.mean + margin)
    result = GateResult(
        candidate=candidate,
        against=against,
        score=score,
        margin=margin,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        samples=count,
        difference=found and found.mean,
        low=found and found.low,
        high=found and found.high,
        samples_needed=max(needed, count + 1) if needed and verdict == "cannot_tell" else None,
    )
    labels = [one.candidate.label or one.candidate.key for one in both]
    return result.model_copy(update={"sentence": _sentence(result, *labels)})


def _sentence(result: GateResult, candidate: str, against: str) -> Text:
    margin = number(result.margin)
    if result.difference is None or result.low is None or result.high is None:
        return Text(
            en=f"Cannot tell: {candidate} and {against} have no two samples in common that have a score and that "
            "neither was trained on.",
            zh=f"无法判断：{candidate} 与 {against} 没有两个都有分数且均未在训练中见过的共同样本。",
        )
    figures = Text(
        en=f"{number(result.difference)} against {against} (95 % interval "
        f"{range_of(result.low, result.high, 'en')}, {result.samples} samples)",
        zh=f"与 {against} 之差为 {number(result.difference)}（95% 区间 "
        f"{range_of(result.low, result.high, 'zh')}，{result.samples} 个样本）",
    )
    if result.verdict == "pass":
        return Text(
            en=f"Pass: a loss of {candidate} over the margin of {margin} is excluded: {figures.en}.",
            zh=f"通过：可排除 {candidate} 的损失超过 {margin}：{figures.zh}。",
        )
    if result.verdict == "loss":
        return Text(
            en=f"A loss: {candidate} is worse by more than the margin of {margin}: {figures.en}.",
            zh=f"损失：{candidate} 变差，且超过允许的 {margin}：{figures.zh}。",
        )
    shown = Text(en="", zh="")
    if result.high < 0 and result.samples >= statistics.FEWEST:
        shown = Text(
            en="a loss is shown, but not that it is over the margin; ", zh="已有损失，但未证明超过允许值；"
        )
    needed = _needed(result.samples_needed)
    return Text(
        en=f"Cannot tell whether {candidate} loses more than the margin of {margin}: {figures.en}; "
        f"{shown.en}{needed.en}.",
        zh=f"无法判断 {candidate} 的损失是否超过 {margin}：{figures.zh}；{shown.zh}{needed.zh}。",
    )


def _needed(count: int | None) -> Text:
    if count is None:
        return Text(
            en="the difference lies on the margin, and no number of samples would tell",
            zh="差异恰好等于允许值，再多样本也无法判断",
        )
    return Text(
        en=f"some {count} samples would, if the difference stays as it is",
        zh=f"若差异不变，约需 {count} 个样本才能判断",
    )


def _of(results: Sequence[CandidateResult], key: str, field: str) -> CandidateResult:
    for one in results:
        if one.candidate.key == key:
            return one
    known = ", ".join(f"`{one.candidate.key}`" for one in results)
    raise NotFound(f"No candidate `{key}` was evaluated.", hint=f"There are: {known}.", field=field)
