"""How values read on a terminal: times, sizes, numbers, events. Pure functions; knows neither rich nor the client."""

import datetime as dt
import unicodedata
from typing import Any

from tunesmith.language import Language, current, tr
from tunesmith.metrics import metric_of

PHASE_WORDS: dict[str, str] = {
    "accept": "being accepted",
    "queue": "waiting in the queue",
    "job": "starting the job",
    "imports": "importing libraries",
    "data": "preparing the data",
    "weights": "loading the model",
    "step": "taking the first step",
}
"""What goes on during a phase of the start."""


def label(known: Any) -> str:
    """What something with a label in each language is called in the user's."""
    return str(known.label_zh if current() is Language.ZH else known.label_en)


def busy_with(activity: Any) -> str:
    """What a job is busy with, in the user's language."""
    return plain(activity.text_zh if current() is Language.ZH else activity.text_en)


def plain(text: str) -> str:
    """Text without control characters: what a job or another user wrote must not steer this terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "�" for c in text)


_UNITS = ((86_400, "d", "天"), (3600, "h", "小时"), (60, "m", "分"), (1, "s", "秒"))


def _units(seconds: float) -> list[str]:
    """A time span in its two largest units, the second one of two digits where it is minutes or seconds."""
    whole = round(seconds)
    scale, *_ = next((unit for unit in _UNITS if unit[0] <= whole), _UNITS[-1])
    found: list[str] = []
    for size_of, en, zh in [unit for unit in _UNITS if unit[0] <= scale][:2]:
        count, whole = divmod(whole, size_of)
        digits = f"{count:02}" if found and size_of < 3600 else str(count)
        found.append(f"{digits}{zh if current() is Language.ZH else en}")
    return found


def duration(seconds: float) -> str:
    """A time span in its two largest units: `45s`, `3m 20s`, `2h 05m`, `4d 3h`."""
    return " ".join(_units(seconds))


def age(moment: dt.datetime, now: dt.datetime | None = None) -> str:
    """How long ago, in its largest unit: `45s`, `3m`, `2h`, `4d`."""
    return _units(max(0.0, ((now or dt.datetime.now(dt.UTC)) - moment).total_seconds()))[0]


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
    """An event as one line, in the user's language."""
    is_served = getattr(payload, "kind", "") == "serving"
    return plain(_served(payload) if is_served else tr(_sentence(payload)))


def _found(payload: Any) -> str:
    """What was measured, or answered, at a step."""
    if payload.kind == "samples":
        return "; ".join(" ".join(f"{one.prompt} → {one.text}".split()) for one in payload.answers)
    return ", ".join(f"{name} {number(value)}" for name, value in payload.values.items())


_SERVING = {
    "deploying": "the model is being deployed",
    "ready": "the model can be asked",
    "idle": "the model has left the memory",
    "failed": "the model does not answer",
}


def _served(payload: Any) -> str:
    """What becomes of a served model, or of one of its adapters."""
    name = payload.model
    words = {
        "loading": f"`{name}` is being loaded",
        "loaded": f"`{name}` is loaded",
        "unloaded": f"`{name}` has left the memory",
        "failed": f"`{name}` could not be loaded",
    }
    parts = [tr(words.get(payload.state, "") if name else _SERVING.get(payload.state, ""))]
    parts += [f"{payload.seconds:.1f} s"] if payload.seconds is not None else []
    parts += [size(payload.bytes)] if payload.bytes is not None else []
    told = ", ".join(parts)
    return f"{told}: {tr(payload.message)}" if payload.message else told


def _sentence(payload: Any) -> str:
    from tunesmith import events
    from tunesmith.lifecycle import REASONS

    match payload:
        case events.PhaseDone():
            return f"{PHASE_WORDS[payload.phase]} took {payload.seconds:.1f} s"
        case events.PhaseProgress():
            left = f", {duration(payload.seconds_left)} left" if payload.seconds_left is not None else ""
            share = f" ({100 * payload.share:.0f} %{left})" if payload.share is not None else ""
            return f"{PHASE_WORDS[payload.phase]}: {payload.done:,} rows{share}"
        case events.TrainingStarted():
            parts = [f"training starts at step {payload.step} of {payload.total_steps}"]
            parts += [f"from `{payload.resumed_from}`"] if payload.resumed_from else []
            parts += [f"restart {payload.restart}"] if payload.restart else []
            return ", ".join(map(tr, parts))
        case events.Metrics() | events.SystemMeasured() | events.SamplesAnswered():
            return f"step {payload.step}: {_found(payload)}"
        case events.Progress():
            left = tr(f", {duration(payload.seconds_left)} left") if payload.seconds_left is not None else ""
            return tr(f"step {payload.step} of {payload.total_steps}") + left
        case events.LogLine():
            return f"{payload.level} {payload.source}: {payload.message}"
        case events.CheckpointSaved():
            return (
                f"checkpoint at step {payload.step}: {payload.files} files, {size(payload.bytes)}, "
                f"{payload.uri}"
            )
        case events.CheckpointRemoved():
            return f"checkpoint of step {payload.step} removed to keep within `save_total_limit`"
        case events.DatasetMade():
            return f"{payload.rows} rows, {size(payload.bytes)}: {payload.path}"
        case events.Warned():
            return f"{tr(f'warning: {payload.message}')} {tr(payload.hint or '')}".rstrip()
        case events.Finished():
            said = payload.message or REASONS[payload.reason].words
            return f"the job ended as {payload.outcome}: {said}"
        case events.StateChanged():
            return f"{payload.state}: {payload.message}" if payload.message else str(payload.state)
    return str(getattr(payload, "kind", "event"))
