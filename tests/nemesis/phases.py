"""In which phase a task is, by what its attempts wrote down: a dead API hides nothing. Knows no process."""

from collections.abc import Mapping, Sequence
from typing import Any

from nemesis.plan import Phase

STEPS, SAVE_STEPS, EVAL_STEPS = 160, 20, 40
"""Of the task that is hurt."""


def is_in(phase: Phase, spools: Mapping[int, Sequence[Mapping[str, Any]]], after: int = 0) -> bool:
    """Whether a task is in a phase.

    Args:
        phase: Which.
        spools: The events of each attempt, by its number.
        after: Only attempts after this one count.
    """
    if phase is Phase.QUEUED:
        return True
    newest = max((number for number in spools if number > after), default=None)
    if phase is Phase.STARTING or newest is None:
        return newest is not None
    ever = [event["payload"] for events in spools.values() for event in events]
    payloads = [event["payload"] for event in spools[newest]]
    if phase is Phase.ENDED:
        return any(payload["kind"] == "finished" for payload in payloads)
    steps = [p["step"] for p in payloads if p["kind"] == "metrics" and "loss" in p["values"]]
    step = max(steps, default=0)
    saved = {p["step"] for p in ever if p["kind"] == "checkpoint"}
    evaluated = {p["step"] for p in ever if p["kind"] == "metrics" and "eval_loss" in p["values"]}
    match phase:
        case Phase.TRAINING:
            return step >= 5
        case Phase.EVALUATING:
            return step > 0 and step % EVAL_STEPS == 0 and step not in evaluated
        case Phase.SAVING:
            due = step - step % SAVE_STEPS
            return due > 0 and due not in saved
        case Phase.STOPPING:
            return step >= 30
        case Phase.FINISHING:
            return step >= STEPS
