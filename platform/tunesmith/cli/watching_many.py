"""Shows all live tasks on a terminal as they go on: `tunesmith watch` without a task.

On something that is no terminal it says a plain line for each state that changes.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunesmith.cli.format import duration, number, plain
from tunesmith.cli.output import COLOURS, state_text, state_word, table
from tunesmith.language import tr
from tunesmith.lifecycle import ENDS, State
from tunesmith.views import Health
from tunesmith.workspace import Changed, Deleted, Listed, TaskLine, WorkspaceChange

_BAR = 16
_LEAST_NAME = 8
_WIDE = 100
"""Columns from which on there is room for a bar."""
_RANK = {State.PENDING: 1} | dict.fromkeys(ENDS, 2)


class Boards:
    """The tasks that are watched, and how they look. Knows no network."""

    def __init__(self) -> None:
        self.lines: dict[str, TaskLine] = {}

    @property
    def is_over(self) -> bool:
        """Whether no task is live."""
        return all(line.state.is_terminal for line in self.lines.values())

    def take(self, change: WorkspaceChange) -> list[TaskLine]:
        """Take in a change.

        Returns:
            The tasks whose state is another than before.
        """
        before = {task_id: line.state for task_id, line in self.lines.items()}
        if isinstance(change, Listed):
            # Those that were over at the beginning are no news; one that was watched stays and shows its end.
            self.lines = {
                line.id: line for line in change.tasks if not line.state.is_terminal or line.id in before
            }
        elif isinstance(change, Changed):
            if change.task.id in self.lines or not change.task.state.is_terminal:
                self.lines[change.task.id] = change.task
        elif isinstance(change, Deleted):
            self.lines.pop(change.id, None)
        return [line for task_id, line in sorted(self.lines.items()) if before.get(task_id) != line.state]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # What goes on comes first: what does not fit below it is counted.
        lines = sorted(self.lines.values(), key=lambda line: (_RANK.get(line.state, 0), line.id))
        room = max(1, (options.height or console.height) - 3)
        columns = _columns(lines, options.max_width)
        fitting, rows = 0, 0
        for line in lines:
            rows += math.ceil(cell_len(plain(line.name)) / columns["name"]) or 1
            fitting += rows <= room
        shown = lines if rows <= room + 1 else lines[: max(1, fitting)]
        yield _table(shown, columns)
        if len(shown) < len(lines):
            rest = lines[len(shown) :]
            yield Text(tr(f"and {len(rest)} more: {_counted(rest)}"), style="dim")


def _columns(lines: Sequence[TaskLine], width: int) -> dict[str, int]:
    """How wide each column is: what is left is the names', which go on in the next line where they need to."""
    states = max((state_text(line.state).cell_len for line in lines), default=0)
    found = {"task": max((len(line.id) for line in lines), default=4), "name": 0, "state": states}
    found |= ({"": _BAR} if width >= _WIDE else {}) | {"done": 4, "loss": 9, "left": 9}
    found["name"] = max(_LEAST_NAME, width - sum(found.values()) - 2 * len(found))
    return found


def _table(lines: Sequence[TaskLine], columns: Mapping[str, int]) -> Table:
    shown = table(*columns, numbers=("done", "loss", "left"))
    names = shown.columns[1]
    names.no_wrap, names.overflow, names.max_width = False, "fold", columns["name"]
    is_narrow = "" not in columns
    for line in lines:
        progress = line.progress
        bar = ProgressBar(
            total=progress.total_steps or None,
            completed=progress.step,
            width=_BAR,
            pulse=line.state is State.RUNNING and not progress.total_steps,
            complete_style=COLOURS[State.RUNNING],
            finished_style=COLOURS[State.COMPLETED],
        )
        left = progress.seconds_left if line.state is State.RUNNING else None
        cells: list[RenderableType] = [
            Text(line.id),
            Text(plain(line.name)),
            state_text(line.state),
            bar if progress.total_steps or line.state is State.RUNNING else "",
            Text(f"{progress.percent:.0f}%" if progress.total_steps else ""),
            Text(number(progress.loss) if progress.loss is not None else ""),
            Text(duration(left) if left is not None else ""),
        ]
        if is_narrow:
            del cells[3]
        shown.add_row(*cells)
    return shown


def _counted(lines: Iterable[TaskLine]) -> str:
    return ", ".join(
        f"{count} {state_word(state)}" for state, count in Counter(line.state for line in lines).items()
    )


def said(line: TaskLine) -> str:
    """A task as one plain line."""
    parts = [line.id, line.name, state_word(line.state)]
    if line.progress.total_steps:
        parts.append(
            f"{line.progress.percent:.0f}% {tr('step')} {line.progress.step}/{line.progress.total_steps}"
        )
    if line.progress.loss is not None:
        parts.append(f"{tr('loss')} {number(line.progress.loss)}")
    if line.health is Health.RECOVERING:
        parts.append(tr("not heard of lately; recovering"))
    elif line.message and not (line.state is State.RUNNING and line.progress.step):
        parts.append(tr(line.message))  # of one that trains it is from its start
    return plain("  ".join(parts))


def watch_tasks(changes: Iterable[WorkspaceChange], console: Console) -> Boards:
    """Follow all live tasks until none is.

    Args:
        changes: The list of tasks, live.
        console: Where it shows.
    """
    boards = Boards()
    live = Live(boards, console=console, refresh_per_second=4) if console.is_terminal else None
    with live or contextlib.nullcontext():
        for change in changes:
            for line in boards.take(change):
                if live is None:
                    console.print(said(line), soft_wrap=True)
            if boards.is_over:
                break
    return boards
