"""Evaluations: what is answered."""

from tunesmith import views
from tunesmith.evaluation.results import (
    Answer,
    Candidate,
    CandidateResult,
    Comparison,
    EvaluationResult,
    Pair,
    Sample,
    Text,
    Turn,
)
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation_views import (
    CandidateProgress,
    EvaluationForecast,
    EvaluationSummary,
    EvaluationView,
    ScoreView,
)
from tunesmith.lifecycle import State
from tunesmith_platform.examples.common import TASK_ID, TIME

_KEY = f"{TASK_ID}/checkpoint-50"
_SENTENCE = {
    "en": "checkpoint-50 is better than the base by 0.12 (0.05 to 0.19) over 128 samples.",
    "zh": "在 128 个样本上，checkpoint-50 比基础模型高 0.12（0.05 至 0.19）。",
}
_COMPARABLE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_MEANS = {"base": {"composite": 0.41}, _KEY: {"composite": 0.53}}
EVALUATION = EvaluationView(
    task_id=TASK_ID,
    name="evaluate_20261121_093000",
    state=State.COMPLETED,
    candidates=[
        CandidateProgress(
            candidate="base",
            label="SmolLM2-135M-Instruct (base)",
            answered=128,
            total=128,
            means=_MEANS["base"],
        ),
        CandidateProgress(
            candidate=_KEY,
            label="sft_20261121 checkpoint-50",
            step=50,
            answered=128,
            total=128,
            means=_MEANS[_KEY],
        ),
    ],
    recommended=_KEY,
    sentence=_SENTENCE,
    comparable_by=_COMPARABLE,
    uri="/data/files/tasks/task-01/artifacts/evaluation",
    created_at=TIME,
)
EVALUATION_FORECAST = EvaluationForecast(
    candidates=["SmolLM2-135M-Instruct (base)", "ember checkpoint-20", "ember checkpoint-40"],
    samples=128,
    repeats=1,
    generations=384,
    most_new_tokens=98_304,
    seconds=412.0,
    source="the past task `evaluate_20260716_101112` with the same model",
    measured_at=TIME,
    device="cpu",
    memory_bytes=1_430_000_000,
    there_is_bytes=12_884_901_888,
    fits=True,
)
EVALUATIONS = views.Page[EvaluationSummary](
    data=[
        EvaluationSummary(
            task_id=TASK_ID,
            recommended=_KEY,
            sentence=_SENTENCE,
            comparable_by=_COMPARABLE,
            means=_MEANS,
            created_at=TIME,
        )
    ],
    has_more=False,
)
_SAMPLE = Sample(
    id="4fc82b26aecb47d2",
    row=1,
    turns=(Turn(role="user", content="What is 2 plus 2?"),),
    reference="It is 4.",
)
SCORES = views.Page[ScoreView](
    data=[ScoreView.of("keyword_coverage", INFO["keyword_coverage"])], has_more=False
)
EVALUATION_RESULT = EvaluationResult(
    task_id=TASK_ID,
    name="evaluate_20261121_093000",
    samples=(_SAMPLE,),
    settings={"temperature": 0.0, "max_new_tokens": 256, "seed": 42},
    weights={"keyword_coverage": 1.0},
    comparable_by=_COMPARABLE,
    candidates=(
        CandidateResult(
            candidate=Candidate(key=_KEY, label="sft_20261121 checkpoint-50", task_id=TASK_ID, step=50),
            answers=(
                Answer(
                    sample_id=_SAMPLE.id,
                    text="It is 4.",
                    tokens=6,
                    finish_reason="stop",
                    scores={"keyword_coverage": 1.0, "composite": 1.0},
                ),
            ),
            means={"keyword_coverage": 1.0, "composite": 1.0},
            band="excellent",
        ),
    ),
    comparison=Comparison(
        samples=128,
        pairs=(
            Pair(
                candidate=_KEY, against="base", samples=128, difference=0.12, low=0.05, high=0.19,
                p_value=0.001, p_adjusted=0.002, verdict="better",
            ),
        ),
        recommended=_KEY,
        sentence=Text(**_SENTENCE),
    ),
)  # fmt: skip
