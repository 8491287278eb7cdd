"""What commands print with: data to stdout, talk to stderr, states in their colours, errors in their words.

Knows rich and the views; knows no command.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tunesmith.cli.format import plain
from tunesmith.errors import CannotConnect, Fault, Problem, TunesmithError
from tunesmith.language import tr
from tunesmith.lifecycle import State

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tunesmith import views
    from tunesmith.spec.base import Notice

COLOURS: dict[State, str] = {
    State.PENDING: "#7d93b2",
    State.RUNNING: "#2e9e5b",
    State.STOPPING: "#d08a00",
    State.STOPPED: "#8a8a8a",
    State.COMPLETED: "#2f7fe0",
    State.FAILED: "#d64545",
}
_SIGNS: dict[State, str] = {
    State.PENDING: "○",
    State.RUNNING: "●",
    State.STOPPING: "◐",
    State.STOPPED: "■",
    State.COMPLETED: "✔",
    State.FAILED: "✘",
}
EXIT_CODES: dict[State, int] = {State.COMPLETED: 0, State.FAILED: 1, State.STOPPED: 3}
"""What `watch` and `train --watch` exit with."""


_ENDLESS = 1_000_000
"""Columns of what is no terminal: nothing is wrapped or cut there."""
_LEAST_COLUMN = 16
"""A column that may be folded keeps so many columns."""


class _Lines(Table):
    """A table whose lines end with their last word where no terminal shows them: padding would be read as text."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        laid_out = super().__rich_console__(console, options)
        if console.is_terminal:
            yield from laid_out
            return
        for line in Segment.split_lines(one for one in laid_out if isinstance(one, Segment)):
            yield Segment("".join(segment.text for segment in line).rstrip() + "\n")


def out() -> Console:
    """Where data goes."""
    return _console()


def talk() -> Console:
    """Where everything that is said besides the data goes."""
    return _console(stderr=True)


def _console(*, stderr: bool = False) -> Console:
    """What is no terminal has room for lines of any length: a path that is cut in two is none any more."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _ENDLESS
    return console


def say(message: str) -> None:
    """Tell the user something besides the data."""
    talk().print(plain(tr(message)), soft_wrap=True)


def warn(message: str) -> None:
    """Tell the user something that wants attention."""
    talk().print(Text(plain(tr(message)), style="yellow"), soft_wrap=True)


def ask(question: str) -> bool:
    """Ask the user to confirm something.

    Raises:
        BadParameter: Nobody is here to be asked.
    """
    import typer

    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is here to be asked; give `--yes`.", param_hint="--yes")
    return typer.confirm(plain(tr(question)), err=True)


def show_table(shown: Table, console: Console | None = None) -> None:
    """Print a table. On a terminal it is fitted by folding what may be folded; no name is ever cut.

    Args:
        shown: The table.
        console: Where it goes; data's place when None.
    """
    console = console or out()
    fitted = console.width
    console.width = room_for(shown, console)
    console.print(shown)
    console.width = fitted


def room_for(shown: Table, console: Console) -> int:
    """The columns that a table takes: those of the terminal, or more where what must not be folded needs more."""
    needed = 0
    for column in shown.columns:
        texts = [column.header, *column.cells]
        widest = max(
            (text.cell_len if isinstance(text, Text) else len(str(text)) for text in texts), default=0
        )
        needed += 2 + (widest if column.no_wrap else min(widest, _LEAST_COLUMN))
    return max(console.width, needed)


def show_json(value: Any) -> None:
    """Print a view, or a list of views, as JSON."""
    from pydantic import TypeAdapter

    data = TypeAdapter(Any).dump_python(value, mode="json")
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def show_json_lines(values: Iterable[BaseModel]) -> None:
    """Print each view as one line of JSON, as it comes."""
    for value in values:
        sys.stdout.write(value.model_dump_json() + "\n")
        sys.stdout.flush()


def state_text(state: State) -> Text:
    """A state in its sign, its word and its colour: readable without any one of them."""
    return Text(f"{_SIGNS[state]} {state_word(state)}", style=COLOURS[state])


def state_word(state: str) -> str:
    """A state in the user's language."""
    return tr(str(state))


def signs_fit(console: Console) -> bool:
    """Whether a console can show more than ASCII."""
    return console.encoding.lower().startswith("utf")


def table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    """An empty table with few lines; the columns in `numbers` are set to the right."""
    found = _Lines(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        found.add_column(tr(name), justify="right" if name in numbers else "left", no_wrap=True)
    return found


def facts(rows: Iterable[tuple[str, str | Text | None]]) -> Table:
    """Names and values below each other; a value of None or empty is left out."""
    found = _Lines.grid(padding=(0, 2, 0, 0))
    found.add_column(style="bold", no_wrap=True)
    found.add_column(overflow="fold")
    for name, value in rows:
        if value:
            found.add_row(tr(name), value if isinstance(value, Text) else Text(plain(value)))
    return found


def show_notices(notices: Iterable[Notice]) -> None:
    """Say what was understood though it was said in another way, and what has no effect."""
    for notice in notices:
        say(f"note: {notice.message}")


def _show(sign: str, style: str, message: str) -> None:
    """Say something behind a sign that shows what it is."""
    talk().print(Text(tr(sign), style=style) + Text(plain(tr(message))), soft_wrap=True)


def show_error(error: TunesmithError) -> None:
    """Say what went wrong, where, and what to do next."""
    count = len(error.problems) + error.more_problems
    many = count > 1
    _show("error: ", "bold red", f"{count} things are wrong." if many else error.message)
    hints = [] if many else [error.hint]
    for problem in error.problems:
        if many:
            _show_problem(problem)
        elif problem.hint != error.hint:
            hints.append(problem.hint)
    if error.more_problems:
        say(f"  and {error.more_problems} more.")
    if error.fault is not Fault.USER and not isinstance(error, CannotConnect):
        say(f"  fault: {error.fault}.{' Trying again may help.' if error.retryable else ''}")
    for hint in hints:
        if hint:
            show_hint(hint)


def show_hint(hint: str) -> None:
    """Say what to do next."""
    _show("hint: ", "bold", hint)


def show_usage(message: str, path: str, meant: str | None) -> None:
    """Say what is wrong with a call.

    Args:
        message: What is wrong.
        path: The command that was called.
        meant: What was probably meant.
    """
    _show("error: ", "bold red", message)
    how = f"`{path} --help` shows how it goes."
    show_hint(f"Did you mean `{meant}`? {how}" if meant else how)


def show_bug(error: Exception) -> None:
    """Say that something happened that never should."""
    if wants_traceback():
        traceback.print_exception(error)
    _show("error: ", "bold red", f"{type(error).__name__}: {error}")
    show_hint("This is a fault of Tunesmith. `TUNESMITH_DEBUG=1` shows where it happened.")


def _show_problem(problem: Problem) -> None:
    place = f"{problem.field}: " if problem.field else ""
    talk().print(Text(plain(f"  {place}{tr(problem.message)}")), soft_wrap=True)
    if problem.hint:
        talk().print(Text(plain(f"    {tr('hint: ')}{tr(problem.hint)}")), soft_wrap=True)


def wants_traceback() -> bool:
    """Whether the user asked for the traceback of what should never happen."""
    return bool(os.environ.get("TUNESMITH_DEBUG"))


def progress_words(progress: views.ProgressView) -> str:
    """How far a task is, short: `42% 42/100`."""
    if not progress.total_steps:
        return ""
    return f"{progress.percent:.0f}% {progress.step}/{progress.total_steps}"
