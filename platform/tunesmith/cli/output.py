"""What commands print with: data to stdout, talk to stderr, states in their colours, errors in their words.

Knows rich and the views; knows no command.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, TypeAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunesmith import views
from tunesmith.cli.format import plain
from tunesmith.errors import CannotConnect, Fault, Problem, TunesmithError
from tunesmith.lifecycle import State
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


def out() -> Console:
    """Where data goes."""
    return Console(highlight=False, markup=False, emoji=False)


def talk() -> Console:
    """Where everything that is said besides the data goes."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(message: str) -> None:
    """Tell the user something besides the data."""
    talk().print(plain(message), soft_wrap=True)


def show_json(value: Any) -> None:
    """Print a view, or a list of views, as JSON."""
    data = TypeAdapter(Any).dump_python(value, mode="json")
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def show_json_lines(values: Iterable[BaseModel]) -> None:
    """Print each view as one line of JSON, as it comes."""
    for value in values:
        sys.stdout.write(value.model_dump_json() + "\n")
        sys.stdout.flush()


def state_text(state: State) -> Text:
    """A state in its sign, its word and its colour: readable without any one of them."""
    return Text(f"{_SIGNS[state]} {state}", style=COLOURS[state])


def signs_fit(console: Console) -> bool:
    """Whether a console can show more than ASCII."""
    return console.encoding.lower().startswith("utf")


def table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    """An empty table with few lines; the columns in `numbers` are set to the right."""
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        found.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    return found


def facts(rows: Iterable[tuple[str, str | Text | None]]) -> Table:
    """Names and values below each other; a value of None or empty is left out."""
    found = Table.grid(padding=(0, 2, 0, 0))
    found.add_column(style="bold", no_wrap=True)
    found.add_column(overflow="fold")
    for name, value in rows:
        if value:
            found.add_row(name, value if isinstance(value, Text) else Text(plain(value)))
    return found


def show_notices(notices: Iterable[Notice]) -> None:
    """Say what was understood though it was said in another way, and what has no effect."""
    for notice in notices:
        say(f"note: {notice.message}")


def show_error(error: TunesmithError) -> None:
    """Say what went wrong, where, and what to do next."""
    console = talk()
    count = len(error.problems) + error.more_problems
    many = count > 1
    head = f"{count} things are wrong." if many else error.message
    console.print(Text("error: ", style="bold red") + Text(plain(head)), soft_wrap=True)
    hints = [] if many else [error.hint]
    for problem in error.problems:
        if many:
            _show_problem(console, problem)
        elif problem.hint != error.hint:
            hints.append(problem.hint)
    if error.more_problems:
        console.print(f"  and {error.more_problems} more.")
    if error.fault is not Fault.USER and not isinstance(error, CannotConnect):
        again = " Trying again may help." if error.retryable else ""
        console.print(f"  fault: {error.fault}.{again}")
    for hint in hints:
        if hint:
            console.print(Text("hint: ", style="bold") + Text(plain(hint)), soft_wrap=True)


def _show_problem(console: Console, problem: Problem) -> None:
    place = f"{problem.field}: " if problem.field else ""
    console.print(Text(plain(f"  {place}{problem.message}")), soft_wrap=True)
    if problem.hint:
        console.print(Text(plain(f"    hint: {problem.hint}")), soft_wrap=True)


def wants_traceback() -> bool:
    """Whether the user asked for the traceback of what should never happen."""
    return bool(os.environ.get("TUNESMITH_DEBUG"))


def progress_words(progress: views.ProgressView) -> str:
    """How far a task is, short: `42% 42/100`."""
    if not progress.total_steps:
        return ""
    return f"{progress.percent:.0f}% {progress.step}/{progress.total_steps}"
