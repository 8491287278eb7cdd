"""How the forecast of an evaluation reads. How it comes about, the server knows."""

from rich.console import Console
from rich.text import Text

from tunesmith.cli.format import duration, size
from tunesmith.cli.output import facts, say
from tunesmith.evaluation_views import EvaluationForecast
from tunesmith.language import tr


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
        ("memory", size(view.memory_bytes) + there_is),
    ]
    console.print(facts(rows))
    if view.fits is False:
        say("It does not fit.")
