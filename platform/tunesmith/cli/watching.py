"""Follows one task on a terminal: a live progress bar, what happens above it, and the outcome with its loss curve.

On something that is no terminal it says a plain line every ten seconds. Other scripts may call `watch_task` and
`loss_curve`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunesmith import events, views
from tunesmith.cli.chart import draw
from tunesmith.cli.format import PHASE_WORDS, busy_with, duration, label, measured, number, plain, sentence
from tunesmith.cli.machines import machine_line
from tunesmith.cli.output import COLOURS, EXIT_CODES, facts, out, say, signs_fit, state_text, state_word
from tunesmith.client import Client
from tunesmith.errors import TunesmithError, shortened
from tunesmith.language import tr
from tunesmith.lifecycle import REASONS, State
from tunesmith.metrics import metric_of

LINE_SECONDS = 10.0
"""How often a task that goes on says so where there is no terminal."""
_LOOK_SECONDS = 2.0
_TOLD = ("phase", "training_started", "serving", "warning", "samples", "checkpoint", "checkpoint_removed")
_SAMPLE_CHARACTERS = 160


class Board:
    """What is known of a task that is being watched, and how it looks. Knows no network."""

    def __init__(self, view: views.TaskView) -> None:
        self.view = view
        self.state = view.state
        self.waits = ""
        self.is_away = False
        self._is_starting = False
        self.machines = ""
        self.total = view.progress.total_steps
        self.step = view.progress.step
        self.values: dict[str, float] = {}
        self.seconds_left = view.progress.seconds_left
        if view.progress.loss is not None:
            self.values["loss"] = view.progress.loss
        if view.progress.tokens_per_second is not None:
            self.values["tokens_per_second"] = view.progress.tokens_per_second
        self.look(view)

    def look(self, view: views.TaskView) -> None:
        """Take in a task as the server just showed it: what it waits for shows in no event."""
        self.view = view
        self.is_away = False
        if view.state is State.PENDING and view.waits_for and not self._is_starting:
            self.waits = tr(f"waiting: {view.waits_for}")

    def take(self, event: views.EventView) -> Text | None:
        """Take in an event.

        Returns:
            The line that it deserves above the bar, if any.
        """
        payload = event.payload
        if isinstance(payload, events.StateChanged):
            self.state, self.waits, self._is_starting = payload.state, plain(tr(payload.message)), False
            return None
        if isinstance(payload, events.PhaseDone):
            self._is_starting = True
            phases = list(events.Phase)
            after = phases.index(payload.phase) + 1
            self.waits = tr(PHASE_WORDS[phases[after]]) if after < len(phases) else ""
        elif isinstance(payload, events.PhaseProgress | events.Serving):
            self._is_starting, self.waits = True, sentence(payload)
        elif isinstance(payload, events.Progress):
            self.step, self.total, self.seconds_left = payload.step, payload.total_steps, payload.seconds_left
        elif isinstance(payload, events.Metrics):
            # Its step may be the one that an evaluated model was saved at: how far the task is, `Progress` says.
            self.values |= payload.values
        elif isinstance(payload, events.SystemMeasured):
            self.machines = machine_line(payload.workers)
        elif isinstance(payload, events.TrainingStarted):
            self.step, self.total, self.waits = payload.step, payload.total_steps, ""
            if payload.restart or payload.resumed_from:
                return Text(f"↻ {sentence(payload)}")
        elif isinstance(payload, events.CheckpointSaved):
            scores = "".join(f", {name} {number(value)}" for name, value in payload.metrics.items())
            return Text(
                f"✔ {tr(f'checkpoint at step {payload.step}')}{scores}", style=COLOURS[State.COMPLETED]
            )
        elif isinstance(payload, events.SamplesAnswered):
            lines = [plain(" ".join(f"{one.prompt} → {one.text}".split())) for one in payload.answers]
            head = tr(f"step {payload.step}")
            return Text("\n".join(f"{head}: {shortened(line, _SAMPLE_CHARACTERS)}" for line in lines))
        elif isinstance(payload, events.Warned):
            return Text(f"! {sentence(payload)}", style=COLOURS[State.STOPPING])
        return None

    @property
    def percent(self) -> float:
        """How much of the steps is done."""
        return 100 * self.step / self.total if self.total else 0.0

    def measurements(self) -> str:
        """The newest measurements, on one line."""
        parts = [
            f"{tr(name)} {number(self.values[name])}" for name in ("loss", "eval_loss") if name in self.values
        ]
        if "learning_rate" in self.values:
            parts.append(f"{tr('learning rate')} {number(self.values['learning_rate'])}")
        if "tokens_per_second" in self.values:
            parts.append(measured("tokens_per_second", self.values["tokens_per_second"]))
        return "   ".join(parts)

    def situation(self) -> str:
        """What goes on besides the steps."""
        if self.is_away:
            return tr("the server is away; the task goes on, trying again")
        if self.view.health is views.Health.RECOVERING and self.state is State.RUNNING:
            return tr("not heard of lately; recovering")
        if self.view.activity is not None and not self.state.is_terminal:
            busy = busy_with(self.view.activity)
            return f"{self.waits} {busy}" if self.state is State.STOPPING and self.waits else busy
        return self.waits

    def line(self) -> str:
        """All of it as one plain line."""
        parts = [state_word(self.state)]
        if self.total:
            parts.append(f"{self.percent:.0f}% {tr('step')} {self.step}/{self.total}")
        if self.values:
            parts.append(self.measurements().replace("   ", ", "))
        if self.seconds_left is not None and self.state is State.RUNNING:
            parts.append(tr(f"{duration(self.seconds_left)} left"))
        if self.situation():
            parts.append(self.situation())
        return "  ".join(parts)

    def __rich__(self) -> RenderableType:
        bar = Table.grid(padding=(0, 1), expand=False)
        moving = self.total == 0 and not self.state.is_terminal
        cells: list[RenderableType] = [
            state_text(self.state),
            ProgressBar(
                total=self.total or None,
                completed=self.step,
                width=24,
                pulse=moving,
                complete_style=COLOURS[State.RUNNING],
                finished_style=COLOURS[State.COMPLETED],
            ),
        ]
        if self.total:
            cells.append(Text(f"{self.percent:3.0f}%", style="bold"))
            cells.append(Text(f"{tr('step')} {self.step}/{self.total}"))
        if self.seconds_left is not None and self.state is State.RUNNING:
            cells.append(Text(tr(f"{duration(self.seconds_left)} left")))
        bar.add_row(*cells)
        said = (self.measurements(), self.machines, self.situation())
        below = [Text(f"  {text}", style="dim") for text in said if text]
        return Group(bar, *below)


def watch_task(client: Client, task_id: str, console: Console) -> views.TaskView:
    """Follow a task until it has ended, then say how it went.

    Ctrl-C (`KeyboardInterrupt`) leaves the task as it is.

    Args:
        client: Of the platform.
        task_id: The task's id.
        console: Where it shows.

    Returns:
        The task as it ended.
    """
    view = client.task(task_id)
    board = Board(view)
    for event in client.events(view.id, kind=_TOLD):
        if event.n > view.events:
            break
        line = board.take(event)
        if line is not None:
            console.print(line, soft_wrap=True)
    if view.state is not State.PENDING and view.progress.step:
        board.waits = ""
    with _showing(client, board, console):
        for event in client.stream(view.id, after=view.events):
            line = board.take(event)
            if line is not None:
                console.print(line, soft_wrap=True)
    view = client.task(view.id)
    show_outcome(client, view, console)
    return view


@contextlib.contextmanager
def _showing(client: Client, board: Board, console: Console) -> Iterator[None]:
    """Keep the board on the console, and look at the task now and then, while the block runs."""
    over = threading.Event()

    def look() -> None:
        said_at, said, situation = 0.0, "", ""
        while True:
            if not board.state.is_terminal:
                try:
                    board.look(client.task(board.view.id))
                except TunesmithError:
                    board.is_away = True
            moment, line, now = time.monotonic(), board.line(), f"{board.state} {board.situation()}"
            due = now != situation or moment - said_at >= LINE_SECONDS
            if not console.is_terminal and line != said and due:
                said_at, said, situation = moment, line, now
                console.print(line, soft_wrap=True)
            if over.wait(_LOOK_SECONDS):
                return

    looker = threading.Thread(target=look, name="watch", daemon=True)
    looker.start()
    try:
        if console.is_terminal:
            with Live(board, console=console, refresh_per_second=8, transient=True):
                yield
        else:
            yield
    finally:
        over.set()
        looker.join(timeout=_LOOK_SECONDS)


def watched(watch: Callable[[], State], task_id: str) -> int:
    """Run a watcher; Ctrl-C leaves the task as it is and says so.

    Returns:
        The exit code.
    """
    try:
        return EXIT_CODES[watch()]
    except KeyboardInterrupt:
        say(
            f"Detached: the task goes on. Follow it with `tunesmith watch {task_id}`, "
            f"stop it with `tunesmith stop {task_id}`."
        )
        return 130


def followed(client: Client, task_id: str) -> int:
    """Show a task until it ends; returns the exit code."""
    return watched(lambda: watch_task(client, task_id, out()).state, task_id)


def show_outcome(client: Client, view: views.TaskView, console: Console) -> None:
    """Say how a task ended: its loss curve, why, where the model lies, what may be done next."""
    with contextlib.suppress(TunesmithError):  # the outcome is worth more than its picture
        curve = loss_curve(client.metrics(view.id, ["loss", "eval_loss"]), ascii_only=not signs_fit(console))
        if curve:
            console.print(curve)
    console.print(facts(outcome(view)))


def outcome(view: views.TaskView) -> Iterator[tuple[str, str | Text | None]]:
    """How a task ended, as names and values."""
    yield "task", f"{view.name}  {view.id}"
    yield "state", state_text(view.state)
    yield "why", tr(view.message or (REASONS[view.reason].words if view.reason else ""))
    yield "fault", tr(str(view.fault)) if view.fault else None
    if view.ended_at and view.started_at:
        yield "took", duration((view.ended_at - view.started_at).total_seconds())
    yield "model", view.model_uri
    yield "data sets", ", ".join(view.datasets) or None
    yield "mlflow", view.mlflow_url
    yield "next", view.next_step and tr(view.next_step)


def loss_curve(metrics: views.Metrics, *, width: int = 72, height: int = 10, ascii_only: bool = False) -> str:
    """The loss over the steps as text, the evaluation loss below it; empty where there is neither.

    Args:
        metrics: A task's curves; only `loss` and `eval_loss` are drawn.
        width: Columns.
        height: Rows of one curve.
        ascii_only: For terminals without Unicode.
    """
    return "\n".join(
        curve(metrics, name, width=width, height=height, ascii_only=ascii_only)
        for name in ("loss", "eval_loss")
        if len(metrics.series.get(name, [])) > 1
    )


def curve(
    metrics: views.Metrics, name: str, *, width: int = 72, height: int = 10, ascii_only: bool = False
) -> str:
    """One metric over the steps as text."""
    points = [(float(point.step), point.value) for point in metrics.series.get(name, [])]
    known = metric_of(name)
    unit = f" ({known.unit})" if known and known.unit else ""
    title = f"{label(known) if known else plain(name)}{unit}{tr(' by step')}"
    return draw(points, width=width, height=height, title=title, ascii_only=ascii_only)
