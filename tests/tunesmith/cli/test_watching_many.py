"""How many tasks at once look on a terminal: what goes on first, in any width, and none lost without a word."""

import datetime as dt

import pytest
from rich.cells import cell_len
from rich.console import Console

from tunesmith.cli.watching_many import Boards, said
from tunesmith.lifecycle import State
from tunesmith.views import ProgressView
from tunesmith.workspace import Listed, TaskLine

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


def line(number: int, state: State, name: str = "微调 a long name of a task that goes on") -> TaskLine:
    progress = ProgressView(step=0)
    if state is not State.PENDING:
        progress = ProgressView(step=40, total_steps=100, percent=40, loss=0.05, seconds_left=3700)
    return TaskLine(
        id=f"task-{number:018}",
        kind="train",
        name=name,
        project="default",
        state=state,
        message="Starting.",
        progress=progress,
        created_at=NOW,
    )


def many() -> Boards:
    boards = Boards()
    states = [State.PENDING] * 8 + [State.RUNNING] * 3
    boards.take(Listed(position="x-1", tasks=[line(i, state) for i, state in enumerate(states)]))
    ended = [line(20 + i, State.COMPLETED) for i in range(2)]
    boards.lines |= {task.id: task for task in ended}
    return boards


@pytest.mark.parametrize(("width", "height"), [(80, 10), (110, 10), (80, 60), (160, 40)])
def test_it_fits(width: int, height: int) -> None:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as seen:
        console.print(many())
    rows = seen.get().splitlines()
    assert len(rows) < height
    assert all(cell_len(row) <= width for row in rows)
    tasks = [row for row in rows if "task-" in row]  # a long name goes on in the next line
    assert "running" in tasks[0], "what goes on comes first"
    shown = len(tasks)
    if height == 10:
        assert rows[-1].startswith(f"and {13 - shown} more: ")
        assert rows[-1].endswith("2 completed")
    else:
        assert shown == 13


def test_a_task_that_trains_does_not_say_that_it_is_starting() -> None:
    assert "Starting." not in said(line(1, State.RUNNING))
    assert "Starting." in said(line(1, State.PENDING))
