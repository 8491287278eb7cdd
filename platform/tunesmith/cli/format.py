"""How values read on a terminal: times, sizes, numbers, events. Pure functions; knows neither rich nor the client."""

import datetime as dt
import unicodedata
from typing import Any

from tunesmith import events
from tunesmith.events import Phase
from tunesmith.lifecycle import REASONS
from tunesmith.metrics import metric_of

PHASE_WORDS: dict[Phase, str] = {
    Phase.ACCEPT: "being accepted",
    Phase.QUEUE: "waiting in the queue",
    Phase.JOB: "starting the job",
    Phase.IMPORTS: "importing libraries",
    Phase.DATA: "preparing the data",
    Phase.WEIGHTS: "loading the model",
    Phase.STEP: "taking the first step",
}
"""What goes on during a phase of the start."""


def plain(text: str) -> str:
    """Text without control characters: what a job or another user wrote must not steer this terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "�" for c in text)


def duration(seconds: float) -> str:
    """A time span in its two largest units: `45s`, `3m 20s`, `2h 05m`, `4d 3h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def age(moment: dt.datetime, now: dt.datetime | None = None) -> str:
    """How long ago, in its largest unit: `45s`, `3m`, `2h`, `4d`."""
    seconds = max(0.0, ((now or dt.datetime.now(dt.UTC)) - moment).total_seconds())
    return duration(seconds).split(" ")[0]


def local_time(moment: dt.datetime) -> str:
    """A moment on this machine's clock, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def size(count: float) -> str:
    """Bytes with a binary unit: `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def number(value: float) -> str:
    """A measurement with four meaningful digits."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:.2e}"


def measured(name: str, value: float) -> str:
    """A measurement with its unit."""
    if name == "memory_bytes":
        return size(value)
    known = metric_of(name)
    unit = known.unit if known else ""
    return f"{number(value)} {unit}".rstrip()


def sentence(payload: Any) -> str:
    """An event as one line."""
    match payload:
        case events.PhaseDone():
            return f"{PHASE_WORDS[payload.phase]} took {payload.seconds:.1f} s"
        case events.PhaseProgress():
            left = f", {duration(payload.seconds_left)} left" if payload.seconds_left is not None else ""
            share = f" ({100 * payload.share:.0f} %{left})" if payload.share is not None else ""
            return f"{PHASE_WORDS[payload.phase]}: {payload.done:,} rows{share}"
        case events.TrainingStarted():
            origin = f" from `{payload.resumed_from}`" if payload.resumed_from else ""
            again = f", restart {payload.restart}" if payload.restart else ""
            return f"training starts at step {payload.step} of {payload.total_steps}{origin}{again}"
        case events.Metrics() | events.SystemMeasured():
            values = ", ".join(f"{name} {number(value)}" for name, value in payload.values.items())
            return f"step {payload.step}: {values}"
        case events.Progress():
            left = f", {duration(payload.seconds_left)} left" if payload.seconds_left is not None else ""
            return f"step {payload.step} of {payload.total_steps}{left}"
        case events.LogLine():
            return plain(f"{payload.level} {payload.source}: {payload.message}")
        case events.CheckpointSaved():
            return (
                f"checkpoint at step {payload.step}: {payload.files} files, {size(payload.bytes)}, "
                f"{payload.uri}"
            )
        case events.CheckpointRemoved():
            return f"checkpoint of step {payload.step} removed to keep within `save_total_limit`"
        case events.DatasetMade():
            return f"{payload.rows} rows, {size(payload.bytes)}: {plain(payload.path)}"
        case events.Warned():
            return plain(f"warning: {payload.message}" + (f" {payload.hint}" if payload.hint else ""))
        case events.Finished():
            said = payload.message or REASONS[payload.reason].words
            return plain(f"the job ended as {payload.outcome}: {said}")
        case events.StateChanged():
            return plain(f"{payload.state}" + (f": {payload.message}" if payload.message else ""))
    return str(getattr(payload, "kind", "event"))
