"""What is told of an evaluation when it is over."""

import pytest

from tunesmith.evaluation.results import Candidate, CandidateResult, EvaluationResult
from tunesmith_jobs.evaluate.finishing import curves


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        # One task's checkpoints are a curve a score, and the base is no point of it.
        (["task-a/checkpoint-4"], ["evaluation/composite"]),
        # Steps of several tasks mean nothing to each other.
        (
            ["task-a/checkpoint-4", "task-b/checkpoint-4"],
            ["evaluation/task-a/composite", "evaluation/task-b/composite"],
        ),
        # A final model is of its last checkpoint's step.
        (
            ["task-a/checkpoint-4", "task-a/final"],
            ["evaluation/task-a/checkpoint-4/composite", "evaluation/task-a/final/composite"],
        ),
        (
            ["/models/mine (1)", "/models/yours"],
            ["evaluation/models/mine__1_/composite", "evaluation/models/yours/composite"],
        ),
    ],
)
def test_no_candidate_s_scores_are_written_over_another_s(keys: list[str], names: list[str]) -> None:
    candidates = tuple(
        CandidateResult(
            candidate=Candidate(
                key=key,
                label=key,
                step=4 if key.startswith("task-") else 0,
                task_id=key.partition("/")[0] if key.startswith("task-") else None,
                is_base=key == "base",
            ),
            means={"composite": 0.5},
        )
        for key in ["base", *keys]
    )
    points = curves(EvaluationResult(task_id="t", candidates=candidates))
    assert [name for _, values in points for name in values] == names
