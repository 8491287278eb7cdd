"""`tunesmith compare`: what several tasks reached, the parameters in which they differ, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tunesmith.cli.arguments import JsonFlag, LanguageOption, TaskArguments, connect
from tunesmith.cli.chart import draw
from tunesmith.cli.format import label, number, plain
from tunesmith.cli.output import out, say, show_json, show_table, signs_fit, state_text, table
from tunesmith.curves import MAX_TASKS, Axis, Comparison, Curve
from tunesmith.errors import InvalidInput
from tunesmith.language import choose, tr
from tunesmith.metrics import metric_of

if TYPE_CHECKING:
    from tunesmith import views
    from tunesmith.client.series import CurveWish

_POINTS = 400
_CHART_WIDTH = 100
_BY = {Axis.STEP: " by step", Axis.TOKENS: " by tokens", Axis.TIME: " by time"}


def compare(
    task: TaskArguments,
    *,
    name: Annotated[
        list[str] | None, typer.Option(help="This curve (`loss` if not given); may be given again.")
    ] = None,
    x: Annotated[Axis, typer.Option(help="What the curves are drawn over.")] = Axis.STEP,
    ema: Annotated[
        float | None, typer.Option(min=0, max=1, help="Smooth: each point's weight in a moving average.")
    ] = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare tasks: final scores, the parameters in which they differ, their curves."""
    choose(lang)
    wish: CurveWish = {"points": _POINTS, "x": x}
    if ema is not None:
        wish["ema"] = ema
    with connect() as client:
        ids = list(dict.fromkeys(client.task(item).id for item in task))
        if not 2 <= len(ids) <= MAX_TASKS:
            raise InvalidInput(
                f"Between 2 and {MAX_TASKS} tasks are compared.", hint="`tunesmith tasks list` shows them."
            )
        found = client.series.compare(ids, name, **wish)
        diffs = [client.diff_tasks(ids[0], other) for other in ids[1:]]
    if as_json:
        show_json(
            {
                "comparison": found,
                "differences": [
                    {"a": diff.a.id, "b": diff.b.id, "differences": diff.differences} for diff in diffs
                ],
            }
        )
        return
    console = out()
    show_table(_scores(found), console)
    parameters = _parameters(found, diffs)
    console.print()
    if parameters.row_count:
        show_table(parameters, console)
    else:
        say("Their parameters are the same.")
    names = {item.task.id: item.task.name for item in found.tasks}
    for metric in name or ["loss"]:
        shown = [curve for curve in found.curves if curve.name == metric]
        if not shown:
            say(f"None of them has measured {metric}.")
        options: dict[str, Any] = {
            "width": min(console.width, _CHART_WIDTH),
            "height": 8,
            "ascii_only": not signs_fit(console),
        }
        for curve in shown:
            title = f"{plain(names[curve.task_id])}: {_words(curve.name)}{tr(_BY[x])}{_bounds(shown)}"
            console.print()
            console.print(draw(list(zip(curve.x, curve.value, strict=True)), title=title, **options))


def _scores(found: Comparison) -> Table:
    """A line a metric, a column a task: where it ended, and its best where that was before."""
    grid = table("score", *(plain(item.task.name) for item in found.tasks))
    grid.add_row("state", *(state_text(item.task.state) for item in found.tasks))
    names = {score.name: None for item in found.tasks for score in item.scores}
    for name in names:
        cells = []
        for item in found.tasks:
            score = next((score for score in item.scores if score.name == name), None)
            if score is None:
                cells.append("-")
                continue
            lowest = tr(f"  (lowest {number(score.lowest)} at {score.lowest_step})")
            cells.append(f"{number(score.last)}{lowest if score.lowest < score.last else ''}")
        grid.add_row(Text(plain(name)), *cells)
    return grid


def _parameters(found: Comparison, diffs: Sequence[views.TaskDiff]) -> Table:
    """The parameters that are not alike in all tasks, a column a task."""
    grid = table("parameter", "label", *(plain(item.task.name) for item in found.tasks))
    for column in grid.columns[1:]:
        column.no_wrap, column.overflow = False, "fold"
    differing = {item.name: item for diff in diffs for item in diff.differences}
    for name, any_one in differing.items():
        cells = [_value(any_one.a)]
        for diff in diffs:
            own = next((item for item in diff.differences if item.name == name), None)
            cells.append(_value(own.b if own else any_one.a))
        grid.add_row(name, label(any_one), *(Text(plain(cell)) for cell in cells))
    return grid


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _bounds(curves: Sequence[Curve]) -> str:
    """The range of all charts together: each chart has its own scale."""
    values = [value for curve in curves for value in curve.value]
    return tr(f"  (all: {number(min(values))} to {number(max(values))})") if len(curves) > 1 else ""


def _words(name: str) -> str:
    known = metric_of(name)
    return label(known) if known else plain(name)


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("compare")(compare)
