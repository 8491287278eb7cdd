"""Scores of answers: formulas, what they are called, the composite. Pure Python; the same for English and Chinese."""

from tunesmith.evaluation.scores.composite import (
    DEFAULT_WEIGHTS,
    band,
    check_weights,
    composite,
    means_of,
    recompose,
    shared_out,
)
from tunesmith.evaluation.scores.degenerate import degenerate
from tunesmith.evaluation.scores.info import INFO, SCORERS_VERSION
from tunesmith.evaluation.scores.scoring import ScoreOptions, class_score, classification, cut_share, score

__all__ = [
    "DEFAULT_WEIGHTS",
    "INFO",
    "SCORERS_VERSION",
    "ScoreOptions",
    "band",
    "check_weights",
    "class_score",
    "classification",
    "composite",
    "cut_share",
    "degenerate",
    "means_of",
    "recompose",
    "score",
    "shared_out",
]
