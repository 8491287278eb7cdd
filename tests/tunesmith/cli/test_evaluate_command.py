"""`tunesmith evaluate`, as far as the command line decides: mappings, and what a gate is told before it costs hours."""

from typing import Any

import pytest
import typer

from tunesmith.cli.arguments import pairs
from tunesmith.cli.evaluate import _benchmarks, _scores
from tunesmith.cli.gate import told_apart, will_be_there
from tunesmith.errors import InvalidInput
from tunesmith.evaluation.scores import INFO
from tunesmith.evaluation_views import CandidateProgress, EvaluationView


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{similarity=0.5,format=0.5}", {"similarity": 0.5, "format": 0.5}),
        ("{similarity: 0.5, format: 0.5}", {"similarity": 0.5, "format": 0.5}),
        ("{format:1}", {"format": 1.0}),
        ('{"format": 1}', {"format": 1.0}),
        ("{{ messages }}", "{{ messages }}"),
        ("{format=1,format=2}", "{format=1,format=2}"),
        ("{format=much}", "{format=much}"),
        ("{1,3}", "{1,3}"),
    ],
)
def test_braces_hold_a_mapping_and_whatever_is_none_stays_text(text: str, value: Any) -> None:
    assert pairs([f"composite_weights={text}"]) == {"composite_weights": value}


def test_what_a_gate_compares_with_is_a_candidate() -> None:
    spec: dict[str, Any] = {"checkpoints": ["40"]}
    will_be_there(spec, "task-01k9zzzzzzzzzzzzz9/checkpoint-10")
    assert spec["checkpoints"] == ["40", "task-01k9zzzzzzzzzzzzz9:10"]
    will_be_there(spec, "base")
    assert len(spec["checkpoints"]) == 2


def test_a_gate_against_a_base_that_is_not_asked_is_refused_before_anything_is() -> None:
    with pytest.raises(InvalidInput, match="no-base"):
        will_be_there({"checkpoints": ["all"], "include_base": False}, "base")


def test_a_gate_that_could_not_be_asked_says_no_loss() -> None:
    """1 means that something was lost: a pipeline must not read that of a server that is away."""
    with pytest.raises(typer.Exit) as left, told_apart("base"):
        raise InvalidInput("No such task.")
    assert left.value.exit_code == 4
    with pytest.raises(InvalidInput), told_apart(None):
        raise InvalidInput("No such task.")


def columns(**means: float) -> list[str]:
    one = CandidateProgress(candidate="base", label="base", means=means)
    view = EvaluationView(task_id="t", name="e", state="completed", candidates=[one])
    return [str(column.header) for column in _scores(view).columns]


def test_a_judge_that_somebody_asked_for_is_in_the_table() -> None:
    means = dict.fromkeys((*INFO, "composite"), 0.5)
    assert columns(**means)[2:4] == ["composite", "judge"]
    del means["judge"]
    assert "judge" not in columns(**means)


def test_the_users_own_scores_have_columns_and_benchmarks_a_table_of_their_own() -> None:
    means = dict.fromkeys((*INFO, "composite"), 0.5)
    own = {f"own_{n}": 0.5 for n in range(7)}
    assert columns(**means, **own, **{"benchmark/hellaswag/acc": 0.3})[2:] == [
        "composite",
        "judge",
        "accuracy",
        *own,
    ]
    view = EvaluationView(
        task_id="t", name="e", state="completed",
        candidates=[CandidateProgress(candidate=key, label=key, means={"benchmark/hellaswag/acc": value})
                    for key, value in (("base", 0.25), ("t/checkpoint-4", 0.5))],
    )  # fmt: skip
    shown = _benchmarks(view)
    assert shown is not None
    assert [list(column.cells) for column in shown.columns] == [["hellaswag/acc"], ["0.25"], ["0.5"]]
    assert _benchmarks(EvaluationView(task_id="t", name="e", state="completed")) is None
