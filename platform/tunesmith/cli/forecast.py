"""How the forecast of an evaluation reads. How it comes about, the server knows."""

from rich.console import Console
from rich.text import Text

from tunesmith.cli.format import duration, size
from tunesmith.cli.output import facts, say
from tunesmith.evaluation_views import EvaluationForecast
from tunesmith.language import tr


def _judge(view: EvaluationForecast) -> str | None:
    """What the judge takes besides."""
    if not view.judgements:
        return None
    if view.judge_seconds is None:
        return tr(
            f"{view.judgements:,} answers to rate; how long it takes is not known: it was not asked yet"
        )
    return tr(
        f"{view.judgements:,} answers to rate, {duration(view.judge_seconds)}; from {view.judge_source}"
    )


def show_forecast(view: EvaluationForecast, console: Console) -> None:
    """Print what an evaluation will take."""
    there_is = tr(f"; {size(view.there_is_bytes)} free") if view.there_is_bytes is not None else ""
    rows: list[tuple[str, str | Text | None]] = [
        ("candidates", ", ".join(view.candidates)),
        ("samples", str(view.samples)),
        ("repeats", str(view.repeats) if view.repeats > 1 else None),
        ("answers", f"{view.generations:,}"),
        ("new tokens at most", f"{view.most_new_tokens:,}"),
        ("time", tr(f"{duration(view.seconds)}, less where answers are known already; from {view.source}")),
        ("judge", _judge(view)),
        ("memory", size(view.memory_bytes) + there_is),
    ]
    console.print(facts(rows))
    if view.fits is False:
        say("It does not fit.")
