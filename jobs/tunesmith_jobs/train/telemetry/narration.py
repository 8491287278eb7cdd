"""What a run reports, told in its log too: what was picked and why, the phases, evaluations, checkpoints, warnings.

A log is where people look first, and a run's events are not in it. The lines are said through `logging`, so that
`log_level` decides about them as about all others. Knows the events; knows nothing of training.
"""

import datetime as dt
import logging
import time as clock
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tunesmith.artifacts import checkpoint_name
from tunesmith.events import (
    CheckpointRemoved,
    CheckpointSaved,
    JobPayload,
    Metrics,
    Phase,
    PhaseDone,
    Progress,
    SamplesAnswered,
    TrainingStarted,
    Warned,
)
from tunesmith_jobs.outlet import Outlet, Relay

_log = logging.getLogger("tunesmith_jobs.train.narration")
STEP_LINE_SECONDS = 30.0
"""A line on the loss comes no oftener: every step is in the curves."""
_PHASES = {
    Phase.IMPORTS: "Libraries imported",
    Phase.DATA: "Rows read",
    Phase.WEIGHTS: "Weights loaded",
    Phase.STEP: "First step taken",
}
_SAMPLE_CHARACTERS = 2000
_FOR_MACHINES = frozenset({"first_rows_sha256"})
_SHOWN = {"loss": "loss", "learning_rate": "learning rate", "grad_norm": "gradient norm"}


class Narrated(Relay):
    """An outlet whose log tells what goes through it."""

    def __init__(self, outlet: Outlet, now: Callable[[], float] = clock.monotonic) -> None:
        super().__init__(outlet)
        self._now = now
        self._said_at = float("-inf")
        self._total_steps = 0
        self._seconds_left: float | None = None

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """Say it to the outlet, and the log what a reader would want to know of it."""
        super().emit(payload, time)
        if isinstance(payload, Warned):
            _log.warning("%s", " ".join(filter(None, (payload.message, payload.hint))))
            return
        for line in self._lines(payload):
            _log.info("%s", line)

    def _lines(self, payload: JobPayload) -> Iterator[str]:
        match payload:
            case PhaseDone() if payload.phase in _PHASES:
                yield f"{_PHASES[payload.phase]} in {payload.seconds:.1f} s."
            case TrainingStarted():
                self._total_steps = payload.total_steps
                yield from _of_facts(payload.facts)
                yield _start(payload)
            case Progress():
                self._total_steps, self._seconds_left = payload.total_steps, payload.seconds_left
            case Metrics():
                yield from self._of_metrics(payload)
            case SamplesAnswered():
                for number, one in enumerate(payload.answers, start=1):
                    cut = " ..." if one.finish_reason == "length" else ""
                    said = " ".join(f"{one.prompt} -> {one.text}".split())
                    yield f"Sample {number} after step {payload.step}: {said[:_SAMPLE_CHARACTERS]}{cut}"
            case CheckpointSaved():
                best = ", the best so far" if payload.best else ""
                yield f"{checkpoint_name(payload.step)} saved: {payload.bytes / 2**20:.1f} MiB{best}."
            case CheckpointRemoved():
                yield f"{checkpoint_name(payload.step)} removed, to keep within `save_total_limit`."
            case _:
                pass

    def _of_metrics(self, measured: Metrics) -> Iterator[str]:
        evaluated = {name: value for name, value in measured.values.items() if name.startswith("eval_")}
        if evaluated:
            values = ", ".join(f"{name} {value:.4g}" for name, value in sorted(evaluated.items()))
            yield f"Evaluated after step {measured.step}: {values}."
            return
        now = self._now()
        is_last = measured.step == self._total_steps
        if not (is_last or now - self._said_at >= STEP_LINE_SECONDS):
            return
        self._said_at = now
        shown = [(words, measured.values[name]) for name, words in _SHOWN.items() if name in measured.values]
        values = ", ".join(f"{words} {value:.4g}" for words, value in shown)
        left = ""
        if self._seconds_left is not None and not is_last:
            left = f"; about {dt.timedelta(seconds=round(self._seconds_left))} left"
        yield f"Step {measured.step} of {self._total_steps}: {values}{left}."


def _start(started: TrainingStarted) -> str:
    steps = f"{started.total_steps} step{'' if started.total_steps == 1 else 's'}"
    if not started.step:
        words = f"Training begins: {steps}."
    else:
        words = f"Training goes on after step {started.step} of {steps}, from {started.resumed_from}."
    return f"{words} Its workers were started again ({started.restart})." if started.restart else words


def _of_facts(facts: Mapping[str, Any]) -> Iterator[str]:
    """What was picked, a line for each subject, with the reason where there is one; nothing is left out."""
    rest = {
        name: value
        for name, value in facts.items()
        if value not in (None, [], "") and name not in _FOR_MACHINES
    }

    def take(*names: str) -> list[str]:
        return [_fact(name, rest.pop(name), rest.pop(f"{name}_why", None)) for name in names if name in rest]

    subjects = {
        "Machine": ("device", "precision", "attention", "tf32", "threads", "engine"),
        "Data": (
            "rows", "eval_rows", "sequences", "tokens", "supervised_tokens",
            "rows_cut", "rows_dropped", "rows_skipped",
        ),
        "Model": (
            "trainable_parameters", "parameters", "quantization", "lora_r", "lora_alpha", "lora_targets", "adapter",
        ),
    }  # fmt: skip
    for subject, names in subjects.items():
        if said := take(*names):
            yield f"{subject}: {'; '.join(said)}."
    if said := take(*[name for name in rest if not name.endswith("_why")]):
        yield f"Also: {'; '.join(said)}."


def _fact(name: str, value: Any, why: Any) -> str:
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = f"{value:,}".replace(",", " ")
    elif isinstance(value, list):
        text = ", ".join(map(str, value))
    else:
        text = str(value)
    return f"{name.replace('_', ' ')} {text}" + (f" ({str(why).rstrip('.')})" if why else "")
