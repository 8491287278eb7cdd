"""How the checkpoints of a training are scored while it goes on: which evaluation each gets, and what is a score.

The platform submits these evaluations; the training's own job knows nothing of them. Pure.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.spec.training import TrainSpec

_OF_ROWS = "eval_"
"""What the names begin with of what the training's own job measures on held-out rows."""


SCORE_TAG = "checkpoint-score"
"""Of the evaluations that a training has made of its checkpoints: to find them by, and to leave them out."""


def is_score(metric: str) -> bool:
    """Whether a value of `metric_for_best_model` is a score of answers, which the platform learns after the save."""
    return not metric.startswith(_OF_ROWS)


def best_by_score(spec: Mapping[str, Any]) -> str | None:
    """The score that tells a training's best checkpoint; None where its own job does, or nobody.

    Args:
        spec: The training's parameters as they are stored.
    """
    metric = str(spec.get("metric_for_best_model") or _OF_ROWS)
    return metric if spec.get("evaluate_checkpoints") and is_score(metric) else None


def evaluation_of(spec: "TrainSpec", task_id: str, step: int) -> dict[str, Any]:
    """The parameters of the evaluation of one checkpoint.

    Args:
        spec: Of its training.
        task_id: The training.
        step: The checkpoint's.
    """
    made: dict[str, Any] = {
        "task_id": task_id,
        "checkpoints": [str(step)],
        "max_samples": spec.evaluation_max_samples,
        "max_new_tokens": spec.evaluation_max_new_tokens,
    }
    if spec.evaluation_sample_file is not None:
        made["sample_file"] = spec.evaluation_sample_file
    return made
