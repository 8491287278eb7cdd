"""What must be true of a task after whatever happened to it: one function an invariant, each returns what is broken.

Compares what four witnesses hold: what the client was told, what the job wrote down (its spools), what the API shows,
what lies in the storage and in MLflow; and all of it with a run that nothing happened to.
"""

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nemesis.plan import Episode, Harm, Part, ends_attempt

from tunesmith.artifacts import FINAL_MODEL, checkpoint_name, faults_of, sha256_of
from tunesmith.lifecycle import Reason, State, may_move
from tunesmith.storage import local_path, open_storage
from tunesmith.views import CheckpointView, EventView, TaskView

STOP_SECONDS = 5.0
"""I5: how long after an accepted stop an optimizer step may still start."""
_WEIGHTS = "adapter_model.safetensors"


@dataclass
class Seen:
    """What the witnesses say of one task, when all is over."""

    task: TaskView
    notes: str
    """What the task's notes were set to, acknowledged."""
    same_key: list[str]
    """The ids that submitting again with the same Idempotency-Key answered."""
    followed: list[EventView]
    """What a live stream that was followed throughout gave."""
    log: list[EventView]
    spools: dict[int, list[dict[str, Any]]]
    losses: dict[int, float]
    eval_losses: dict[int, float]
    checkpoints: list[CheckpointView]
    mlflow: list[tuple[int, float]]
    """(step, loss), as often as MLflow holds it."""
    stop_accepted: dt.datetime | None = None
    continued: dt.datetime | None = None
    suspended: list[tuple[dt.datetime, dt.datetime]] = field(default_factory=list)
    """When workers were held still, from and to: they cannot end the step under way meanwhile."""
    left_at_end: dict[str, list[str]] = field(default_factory=dict)
    """Processes that lived when an end state was first shown, by that state."""
    is_well: bool = True


@dataclass(frozen=True)
class Reference:
    """The same task, left alone."""

    losses: dict[int, float]
    eval_losses: dict[int, float]
    model_sha256: str

    @classmethod
    def of(cls, seen: Seen) -> "Reference":
        """What an undisturbed run gave."""
        return cls(seen.losses, seen.eval_losses, model_sha256(seen.task))


def model_sha256(task: TaskView) -> str:
    """The sha256 of a task's final weights; empty where there are none."""
    file = at_hand(task.model_uri) / _WEIGHTS if task.model_uri else None
    return sha256_of(file) if file is not None and file.is_file() else ""


def at_hand(uri: str) -> Path:
    """A folder of the storage as one on this machine: the folder itself, or a copy."""
    parent, _, name = uri.rpartition("/")
    return local_path(uri) or open_storage(parent).get_folder(name, Path(tempfile.mkdtemp(prefix="nemesis-")))


def violations(seen: Seen, reference: Reference, episode: Episode) -> list[str]:
    """Every broken promise, in words that begin with its name."""
    checks = (
        _acknowledged(seen),
        _one_effect(seen),
        _converged(seen, episode),
        _legal(seen),
        _stopped(seen),
        _checkpoints(seen),
        _exact(seen, reference),
        _once(seen, reference),
        _outlives(seen, episode),
    )
    return [words for found in checks for words in found]


def _acknowledged(seen: Seen) -> Iterator[str]:
    if seen.task.notes != seen.notes:
        yield f"I1: the notes are {seen.task.notes!r}; {seen.notes!r} was acknowledged"
    if seen.stop_accepted and not any(
        e.payload.kind == "state" and e.payload.state in (State.STOPPING, State.STOPPED, State.COMPLETED)
        for e in seen.log
    ):
        yield "I1: an acknowledged stop left no trace"


def _one_effect(seen: Seen) -> Iterator[str]:
    if set(seen.same_key) != {seen.task.id}:
        yield f"I2: one Idempotency-Key made {sorted({*seen.same_key, seen.task.id})}"
    begun: dict[int, str] = {}
    for attempt, events in sorted(seen.spools.items()):
        for event in events:
            if event["payload"]["kind"] == "training_started":
                begun.setdefault(attempt, event["time"])
    for attempt, events in seen.spools.items():
        later = [time for other, time in begun.items() if other > attempt]
        last = max((_time(e) for e in events if _is_step(e)), default=None)
        if later and last is not None and last > dt.datetime.fromisoformat(min(later)):
            yield f"I2: attempt {attempt} took a step after a later attempt had begun"


def _converged(seen: Seen, episode: Episode) -> Iterator[str]:
    if seen.task.state is not State.COMPLETED:
        yield f"I3: it ended as {seen.task.state} ({seen.task.reason}): {seen.task.message}"
    if not seen.is_well:
        yield f"I3: a part is not healthy after {', '.join(map(str, episode.cells))}"


def _legal(seen: Seen) -> Iterator[str]:
    state = State.PENDING
    for event in seen.log:
        if event.payload.kind != "state":
            continue
        following = event.payload.state
        back = state.is_terminal
        if following is not state and not may_move(state, following, is_continued=back):
            yield f"I4: {state} -> {following}"
        if back and (seen.continued is None and state is not State.FAILED):
            yield f"I4: it left {state} and nobody continued it"
        state = following


def _stopped(seen: Seen) -> Iterator[str]:
    for state, left in seen.left_at_end.items():
        if left:
            yield f"I5: {state} was shown while these lived: {'; '.join(left)}"
    if seen.stop_accepted is None:
        return
    limit = dt.timedelta(seconds=STOP_SECONDS)
    until = seen.continued or dt.datetime.max.replace(tzinfo=dt.UTC)
    late = [
        (_time(event), event["payload"]["step"])
        for events in seen.spools.values()
        for event in events
        if _is_step(event) and _time(event) < until
        if _moving(seen.stop_accepted, _time(event), seen.suspended) > limit
    ]
    if late:
        time, step = max(late)
        seconds = (time - seen.stop_accepted).total_seconds()
        yield f"I5: step {step} ended {seconds:.1f} s after the stop was accepted"


def _moving(
    begun: dt.datetime, ended: dt.datetime, suspended: list[tuple[dt.datetime, dt.datetime]]
) -> dt.timedelta:
    """How much of a time no worker was held still; below zero where it ended before it began."""
    held = (min(ended, until) - max(begun, since) for since, until in suspended)
    return ended - begun - sum((time for time in held if time > dt.timedelta()), dt.timedelta())


def _checkpoints(seen: Seen) -> Iterator[str]:
    from safetensors import safe_open

    if not seen.checkpoints:
        yield "I6: no checkpoint is listed"
    for checkpoint in seen.checkpoints:
        folder = at_hand(checkpoint.uri)
        faults = faults_of(folder)
        if faults:
            yield f"I6: {checkpoint_name(checkpoint.step)} is listed, and {faults[0]}"
            continue
        with safe_open(folder / _WEIGHTS, framework="np") as tensors:
            if not list(tensors.keys()):
                yield f"I6: {checkpoint_name(checkpoint.step)} holds no tensor"
    model = at_hand(seen.task.model_uri) if seen.task.model_uri else None
    if model is not None and (model.name != FINAL_MODEL or faults_of(model)):
        yield f"I6: the final model is not whole: {faults_of(model)[:1]}"


def _exact(seen: Seen, reference: Reference) -> Iterator[str]:
    for name, found, wanted in (
        ("loss", seen.losses, reference.losses),
        ("eval_loss", seen.eval_losses, reference.eval_losses),
    ):
        missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
        if missing or extra:
            yield f"I7: {name} lacks the steps {sorted(missing)[:5]} and has {sorted(extra)[:5]} besides"
        other = [step for step in wanted.keys() & found.keys() if found[step] != wanted[step]]
        if other:
            step = min(other)
            yield f"I7: {name} of step {step} is {found[step]!r} instead of {wanted[step]!r} ({len(other)} differ)"
    if seen.task.state is State.COMPLETED and model_sha256(seen.task) != reference.model_sha256:
        yield "I7: the final weights are others"


def _once(seen: Seen, reference: Reference) -> Iterator[str]:
    numbers = [event.n for event in seen.log]
    if numbers != list(range(1, len(numbers) + 1)):
        yield "I8: the event log has a gap or a double number"
    followed = [event.n for event in seen.followed]
    if followed != numbers[: len(followed)] or len(followed) < len(numbers):
        yield f"I8: the stream gave {len(followed)} events of {len(numbers)}, or in another order"
    for attempt, events in seen.spools.items():
        sequence = [event["seq"] for event in events]
        if sequence != list(range(1, len(sequence) + 1)):
            yield f"I8: the spool of attempt {attempt} has a gap"
    twice = [step for step, count in Counter(step for step, _ in seen.mlflow).items() if count > 1]
    if twice:
        yield f"I8: MLflow holds {len(twice)} steps more than once: {sorted(twice)[:5]}"
    missing = reference.losses.keys() - {step for step, _ in seen.mlflow}
    if missing:
        yield f"I8: MLflow lacks {len(missing)} steps: {sorted(missing)[:5]}"
    other = [step for step, value in seen.mlflow if reference.losses.get(step) not in (None, value)]
    if other:
        yield f"I8: MLflow has other values at {sorted(other)[:5]}"


def _outlives(seen: Seen, episode: Episode) -> Iterator[str]:
    costs = sum(map(ends_attempt, episode.cells))
    starts = [e for e in seen.log if e.payload.kind == "training_started"]
    wanted = (2 if seen.continued else 1) + costs
    if len(starts) > wanted:
        yield f"I9: training began {len(starts)} times, and {costs} things but its observers were hurt"


def ended_as_it_may(task: TaskView, episode: Episode) -> bool:
    """Whether a failure is what its user was promised: a full disk is told, and the task can be continued."""
    filled = any(cell.harm is Harm.FILL or cell.part is Part.STORAGE for cell in episode.cells)
    return filled and task.state is State.FAILED and task.reason in (Reason.DISK_FULL, Reason.STORAGE)


def _is_step(event: dict[str, Any]) -> bool:
    return event["payload"]["kind"] == "metrics" and "loss" in event["payload"]["values"]


def _time(event: dict[str, Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(event["time"])


def table(results: Sequence[dict[str, Any]]) -> str:
    """How often each part was hurt in each phase, and what was never reached."""
    from nemesis.plan import Phase, every_cell

    hit = Counter(tuple(cell) for result in results for cell in result["hit"])
    wanted = {tuple(map(str, cell)) for cell in (*every_cell(), *every_cell(s3=True))}
    rows = sorted({(cell[0], cell[1]) for cell in (*wanted, *hit)})
    width = max(len(f"{harm} {part}") for part, harm in rows)
    lines = [" " * width + "".join(f"{phase:>12}" for phase in Phase)]
    for part, harm in rows:
        counts = []
        for phase in Phase:
            cell = (part, harm, str(phase))
            counts.append(str(hit[cell]) if hit[cell] else ("-" if cell in wanted else ""))
        lines.append(f"{harm} {part}".ljust(width) + "".join(f"{count:>12}" for count in counts))
    never = [cell for cell in wanted if not hit[cell]]
    lines.append(f"{len(wanted) - len(never)} of {len(wanted)} cells hit; `-`: not yet.")
    return "\n".join(lines)
