"""How far a comparison says that it is, where some, all or none of its answers are known from before."""

from collections.abc import Callable
from pathlib import Path

import pytest
from compared import SAMPLES, TASK, Asked, without_effect

from tunesmith.events import Progress, Scored
from tunesmith_jobs.evaluate import progress


def _told(asked: Asked, run: Callable[[], object]) -> list[Progress]:
    asked.outlet.said.clear()
    run()
    return asked.said(Progress)


def test_what_is_known_counts_as_done_from_the_beginning(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_REPORT_SECONDS", 0.0)
    each = len(SAMPLES)
    told = _told(asked, asked.run)
    assert (told[0].step, told[-1].step) == (0, 3 * each)
    assert told[0].seconds_left is None, "nothing is known of the speed yet"
    # All of it: never anything but all, of each candidate too.
    told = _told(asked, lambda: asked.run(attempt=2))
    assert {(one.step, one.total_steps) for one in told} == {(3 * each, 3 * each)}
    assert {(one.answered, one.cached, one.total) for one in asked.said(Scored)} == {(each, each, each)}
    # A part of it: the speed is of what is computed now.
    asked.write([*SAMPLES, ("Is it cold?", "It is cold.")])
    told = _told(asked, lambda: asked.run(attempt=3))
    steps = [one.step for one in told]
    assert (steps[0], steps[-1]) == (3 * each, 3 * each + 3)
    assert steps == sorted(steps)
    assert {one.total_steps for one in told} == {3 * each + 3}
    measured = [one for one in told if one.seconds_left is not None]
    assert measured
    assert measured[-1].seconds_left == 0
    assert all(one.seconds_left is not None for one in told[told.index(measured[0]) :])


def test_a_candidate_that_is_left_out_leaves_nothing_undone(asked: Asked, tmp_path: Path) -> None:
    """All the others' answers being known, nothing was computed after it, and 67 % stood there to the end."""
    asked.run()
    same = without_effect(asked, tmp_path)
    candidates = [asked.trained.candidate(None), asked.trained.candidate(4), same]
    told = _told(asked, lambda: asked.run(candidates, attempt=2))
    assert (told[0].step, told[0].total_steps) == (2 * len(SAMPLES), 3 * len(SAMPLES))
    assert told[-1].step == told[-1].total_steps == 2 * len(SAMPLES)
    assert f"{TASK}/checkpoint-4" in {one.candidate for one in asked.said(Scored)}


def test_how_far_a_candidate_is_is_told_once_a_second_and_not_with_each_answer(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 10 000 samples and 40 candidates each shard's word would be 25 000 events."""
    monkeypatch.setattr(progress, "_REPORT_SECONDS", 3600.0)
    asked.write([(f"Say {number}.", f"{number}.") for number in range(40)])  # three shards a candidate
    asked.run()
    told = [(one.candidate, one.answered) for one in asked.said(Scored)]
    keys = ["base", f"{TASK}/checkpoint-4", f"{TASK}/checkpoint-8"]
    assert sorted(told) == sorted((key, answered) for key in keys for answered in (0, 40))
