"""Effects of parameters that only a run shows, and that have no better place.

That each parameter has an effect is held by `test_parameter_effects.py`, on what is built of it.
"""

import logging
from pathlib import Path
from typing import Any

import pytest
from training_run import events, run, write_rows


@pytest.mark.parametrize(("size", "batches"), [(None, 4), (1, 8), (8, 1)])
def test_per_device_eval_batch_size_is_what_an_evaluation_takes_at_once(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, batches: int
) -> None:
    from tunesmith_jobs.models.scores import TokenScores

    seen: list[int] = []
    add = TokenScores.add

    def counted(self: TokenScores, model: Any, inputs: dict[str, Any]) -> None:
        seen.append(len(inputs["input_ids"]))
        add(self, model, inputs)

    monkeypatch.setattr(TokenScores, "add", counted)
    held_out = write_rows(tmp_path / "eval.jsonl", 8)
    outcome = run(
        tmp_path, tiny_model, eval_rows=str(held_out), eval_file=str(held_out), eval_strategy="epoch", max_steps=1,
        per_device_train_batch_size=2, per_device_eval_batch_size=size,
    )  # fmt: skip
    assert outcome.outcome == "completed", outcome
    before_training = seen[: len(seen) // 2]
    assert len(before_training) == batches
    assert sum(before_training) == 8


def test_log_level_is_the_least_level_of_the_lines_that_arrive(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith_jobs.models.scores import TokenScores

    add = TokenScores.add

    def talkative(self: TokenScores, model: Any, inputs: dict[str, Any]) -> None:
        for level in ("info", "warning", "error"):
            getattr(logging.getLogger("tunesmith_jobs.train"), level)("a line")
        add(self, model, inputs)

    monkeypatch.setattr(TokenScores, "add", talkative)
    held_out = write_rows(tmp_path / "eval.jsonl", 2)
    for wanted, least in (("info", {"info", "warning", "error"}), ("error", {"error"})):
        folder = tmp_path / wanted
        folder.mkdir()
        run(
            folder, tiny_model, eval_rows=str(held_out), eval_file=str(held_out), eval_strategy="epoch",
            log_level=wanted, max_steps=1,
        )  # fmt: skip
        assert {event["level"] for event in events(folder) if event["kind"] == "log"} == least
