"""Samples of evaluations."""

from typing import Any

from fastapi import Body

from tunesmith.errors import Problem
from tunesmith.evaluation.results import Sample, Turn
from tunesmith.evaluation.sample_views import SampleCheck, SamplesEdited
from tunesmith_platform.examples.datasets import DATASET

_PAIR = {"prompt": "What is the capital of France?", "completion": "Paris", "keywords": ["Paris"]}
_ID = "5f3a8c1b2d4e6f70"
SAMPLE_FILE: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [_PAIR]}
SAMPLE_CHECK = SampleCheck(
    name="questions.json",
    counts={"train": 0, "validation": 1},
    bad=1,
    problems=[
        Problem(
            field="questions.json:validation row 2",
            message="`completion` is missing; the row has `prompt`.",
            hint="Write it as text.",
        )
    ],
    notes=[],
    samples=[
        Sample(
            id=_ID,
            row=1,
            turns=(Turn(role="user", content="What is the capital of France?"),),
            reference="Paris",
            keywords=("Paris",),
        )
    ],
)
SAMPLES_EDITED = SamplesEdited(
    dataset=DATASET,
    version="support@2",
    counts={"train": 0, "validation": 42},
    added=[_ID],
    removed=[],
    missing=[],
)


def sample_question_body() -> Any:
    """The body of a look at a sample file."""
    return Body(
        openapi_examples={"dataset": {"summary": "A data set", "value": {"file": "questions", "first": 5}}}
    )


def sample_edit_body() -> Any:
    """The body of an edit."""
    return Body(
        openapi_examples={
            "add": {"summary": "Add a sample", "value": {"dataset": "questions", "add": [_PAIR]}},
            "replace": {
                "summary": "Write one anew",
                "value": {"dataset": "questions", "add": [_PAIR], "remove": [_ID]},
            },
        }
    )
