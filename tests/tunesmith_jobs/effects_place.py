"""What the cases of `test_parameter_effects` work on, and what a case is. No test itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tunesmith_jobs.models.precision import Choice

CPU = Choice("cpu", "fp32", "")
GPU = Choice("cuda", "bf16", "")
NODES = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}]
ROWS = 16
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {{ eos_token }}{% endfor %}"
STEPS = 8


class Place(NamedTuple):
    """What the cases work on."""

    folder: Path
    model: Path
    patch: pytest.MonkeyPatch


def given(folder: Path, model: Path) -> dict[str, Any]:
    return {
        "model_name_or_path": str(model),
        "train_file": str(folder / "talks.jsonl"),
        "target_modules": ["all-linear"],
        "gradient_checkpointing": False,
    }


def filled(value: Any, folder: Path) -> Any:
    """A value with the folder of the files in it."""
    if isinstance(value, str):
        return value.replace("{folder}", str(folder))
    return value


Shows = Callable[[Any, Place], Any]
"""Of a spec: what is to be seen."""


@dataclass(frozen=True)
class Case:
    """A parameter's effect: what is seen with its other value and, of `before`, without it.

    `value`, and what is given with it, may hold `{folder}`, which stands for the folder of the files.
    """

    value: Any
    shows: Shows
    after: Any
    given: dict[str, Any] = field(default_factory=dict)
    before: Any = ...
